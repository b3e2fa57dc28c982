"""The page's events, endpoints, tabs, files and checkpoints, without a browser."""

import asyncio
import os
import time

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from space_actions import fake, photo, url

import app
from docs import samples
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import (
    actions,
    components,
    endpoints,
    events,
    examples,
    masks,
    networks,
    progress,
    storage,
    tabs,
    texts,
)
from textir_hf.tasks import TASKS, Colorization

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Gradio's own
    pytest.mark.usefixtures("tiny_networks"),
]


def test_progress_counts_images_and_tiles_and_estimates(monkeypatch):
    at = progress.Progress()
    assert at.message() == "Working" and at.share() == 0
    at.next_image(1, 4)
    at.total = 10
    at.update(5)
    monkeypatch.setattr(at, "_begun", time.monotonic() - 30)
    assert at.share() == pytest.approx(0.375) and at.message() == "Image 2 of 4, tile 6 of 10, about 50 s left"
    at.next_image(0, 1)
    at.total = 1
    assert at.message() == "Working"


def test_closing_a_run_stops_it_at_the_next_tile():
    done = []

    def work():
        with progress.bar(total=1000) as bar:
            for i in range(1000):
                time.sleep(0.01)
                bar.update()
                done.append(i)

    run = progress.watched(work, 0.05)
    assert next(run).total == 1000
    run.close()
    time.sleep(0.1)
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count < 100
    run = progress.watched(work, 0.05)
    next(run)
    progress.stop_all()
    with pytest.raises(progress.Stopped):
        list(run)


def last(stream) -> tuple:
    return list(stream)[-1]


def test_an_event_gives_a_result_or_a_sentence():
    made = {"results": [{}], "columns": 0, "grid": None, "sweep": False, "notes": ["Note."]}
    value, said, _ = last(events.streamed(lambda: actions.Outcome([{}], ["Note."]), events.shown)())
    assert value | {"number": 0} == made | {"number": 0} and "Done in 1 s. Note." in said

    def refuse():
        raise ValueError("<b>no</b>")

    _, said, _ = last(events.streamed(refuse, events.shown)())
    assert 'role="alert"' in said and "&lt;b&gt;no" in said

    def fail():
        raise RuntimeError("a stray one")

    with pytest.raises(gr.Error, match="failed on the server"):
        list(events.streamed(fail, events.shown)())
    with pytest.raises(gr.Error, match="failed on the server"):
        endpoints.one_sentence(fail)()
    with pytest.raises(gr.Error, match="no"):
        endpoints.one_sentence(refuse)()


def test_the_last_word_of_a_cancelled_run_gives_way_and_another_runs_result_does_not():
    said, _ = events.cancelled()
    assert events.settled(components.status("Tile 1 of 4", 0.2)) == said == components.status(texts.CANCELLED)
    for shown in (components.status("Done."), components.status("Wrong.", alert=True), "", None):
        assert events.settled(shown) == gr.skip()


class Denoising(Colorization):
    name = "denoising"
    command = "denoise"
    summary = "take noise away"
    checkpoint = "textir-mini-denoising"


async def build_page() -> gr.Blocks:
    """Within a loop, or Gradio would leave some of its own unclosed."""
    return app.build()


def test_a_fourth_task_gets_a_tab_and_an_endpoint(monkeypatch):
    networks.offered.cache_clear()
    monkeypatch.setitem(TASKS, "denoising", Denoising())
    monkeypatch.setattr(tabs, "about", lambda: "")
    try:
        page = asyncio.run(build_page())
    finally:
        networks.offered.cache_clear()
    labels = [b.label for b in page.blocks.values() if isinstance(b, gr.Tab)]
    assert labels == ["Inpaint", "Upscale", "Colorize", "Denoise", "Edit", "Compare", "Batch", "About"]
    assert "denoise" in [f.api_name for f in page.fns.values()]


def test_old_files_are_deleted_and_the_page_keeps_its_own():
    path, kept = photo(), storage.Path(examples.EXAMPLES[0].shown["after"]["path"])
    storage.remove_old(time.time() + storage.KEEP_SECONDS - 5)
    assert path.is_file()
    storage.remove_old(time.time() + storage.KEEP_SECONDS + 5)
    assert not path.exists() and not path.parent.exists() and kept.is_file()


def test_folders_of_servers_that_ended_are_removed(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in ("textir-space-999999999", "textir-space-x", f"textir-space-{os.getppid()}", "other"):
        (tmp_path / name).mkdir()
    folder = storage.open_folder()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([folder.name, f"textir-space-{os.getppid()}", "other"])
    assert storage.folder() == folder and folder.stat().st_mode & 0o077 == 0


def test_operators_offer_checkpoints_of_their_own(monkeypatch, pipeline):
    made = pipeline("colorization")
    monkeypatch.setenv("TEXTIR_CHECKPOINTS", "me/colors")
    monkeypatch.setattr(networks, "_loaded", lambda name: made)
    networks.offered.cache_clear()
    try:
        assert networks.offered()["colorization"] == ["textir-mini-colorization", "me/colors"]
        assert networks.load("me/colors").task.name == "colorization"
    finally:
        networks.offered.cache_clear()


def test_a_wrong_checkpoint_of_the_operator_is_named(monkeypatch):
    def missing(name):
        raise ValueError("There is none.")

    monkeypatch.setattr(networks, "_loaded", missing)
    networks.offered.cache_clear()
    try:
        for name, match in (("/no/thing", "expected one of"), ("me/colors", "There is none")):
            monkeypatch.setenv("TEXTIR_CHECKPOINTS", name)
            with pytest.raises(ValueError, match=f"TEXTIR_CHECKPOINTS names {name}: {match}"):
                networks.offered()
    finally:
        networks.offered.cache_clear()


def test_a_look_at_a_file_reads_what_browsers_cannot_and_finds_faces_with_their_parts(tmp_path):
    assert "not an image" in events.look([str(fake()), True])["error"]
    assert "error" in events.look(["/etc/passwd", True])
    tiff = photo(name="photo.tiff")
    assert open_image(events.look([str(tiff), True])["path"]).format in (None, "PNG")
    assert events.look([str(tiff), False])["faces"] == []
    (face,) = events.look([examples.EXAMPLES[0].shown["before"]["path"], False])["faces"]
    eyes, mouth = face["parts"]["Eyes"], face["parts"]["Mouth"]
    assert eyes[3] < mouth[3] and all(0 <= v <= 256 for v in (*eyes, *mouth))


def test_the_editors_smaller_mask_of_a_large_image_is_enlarged_and_another_size_is_refused():
    size, share = (3000, 2000), (4 / 6) ** 0.5
    small = Image.new("L", (round(3000 * share), round(2000 * share)))
    small.paste(255, (0, 0, small.width // 2, small.height))
    mask = masks.decode(url(small), size)
    assert mask.size == size and abs(np.asarray(mask).mean() / 255 - 0.5) < 0.01
    with pytest.raises(ValueError, match="3000x2000"):
        masks.decode(url(Image.new("L", (300, 200))), size)


def test_examples_match_their_inputs():
    for example in examples.EXAMPLES:
        image = open_image(example.input)
        drawn = np.asarray(samples.draw_input(example).convert("RGB")).astype(int)
        assert np.abs(drawn - image).max() <= 1  # another machine may round a drawn one otherwise
        stored = read_settings(open_image(example.output))
        assert stored["prompt"] == example.prompt and stored["model"] == TASKS[example.task].checkpoint

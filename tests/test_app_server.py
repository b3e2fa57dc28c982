"""The page's server: programs that call it, visitors at once, memory and files."""

import io
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
from browser import called, flat, sent, upscaled
from gradio_client import Client, handle_file
from PIL import Image

from benchmarks.space import ROOT
from docs import samples
from textir_hf.imaging.files import open_image
from textir_hf.space import examples, tabs


def test_examples_are_what_their_checkpoints_make(server):
    """Run `python -m docs.samples` if this fails after a checkpoint has changed."""
    for example in examples.EXAMPLES[::3]:
        endpoint = example.name.split("-")[0]
        data = {"image": sent(server[0], example.input), "prompt": example.prompt} | example.arguments
        if example.box:
            mask = io.BytesIO()
            samples.mask(example).save(mask, "PNG")
            data["mask_image"] = sent(server[0], mask.getvalue())
        made, stored = np.asarray(called(server[0], endpoint, data)), np.asarray(open_image(example.output))
        assert np.abs(made.astype(int) - stored).max() <= 2, example.name


def test_visitors_at_once_get_their_own_images(server):
    address, _ = server
    colors = [tuple(int(v) for v in np.random.default_rng(i).integers(0, 256, 3)) for i in range(4)]
    expected = [upscaled(address, color) for color in colors[:2]]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda color: upscaled(address, color), colors))
    assert not [a for a in answers if isinstance(a, str)]
    assert all(np.array_equal(made, own) for own, made in zip(expected, answers, strict=False))
    assert len({a.tobytes() for a in answers}) == 4


def test_memory_stays_where_it_was(server):
    address, process = server
    memory = psutil.Process(process.pid)

    def many(count: int) -> int:
        for i in range(count):  # every second is refused
            upscaled(address, (i % 256, 0, 0))
            called(address, "upscale", {"image": sent(address, b"no image"), "prompt": "a face"})
        return memory.memory_info().rss

    last = many(16)  # until Gradio's copies of the page for each session are as many as they get
    for _ in range(3):  # what is lost with every request is lost in every round; a busy allocator grows in one
        before, last = last, many(20)
        if last - before < 3e6:  # 40 requests; at 0.15 MB each these were 6 MB
            return
    raise AssertionError(f"The server has grown by {(last - before) / 1e6:.1f} MB.")


def test_other_files_and_addresses_are_refused(server):
    address, _ = server
    for path in ("/etc/passwd", str(ROOT / "app.py")):
        assert httpx.get(f"{address}/gradio_api/file={path}").status_code in (403, 404)
        for file in ({"path": path, "meta": {"_type": "gradio.FileData"}}, {"path": path}):
            answer = called(address, "upscale", {"image": file, "prompt": "a face"})
            assert isinstance(answer, str) and "root:" not in answer and "import" not in answer
    for url in (f"{address}/x.png", "ftp://127.0.0.1/x.png", "file:///etc/passwd"):
        for file in ({"path": url, "meta": {"_type": "gradio.FileData"}}, {"path": "", "url": url}):
            answer = called(address, "upscale", {"image": file, "prompt": "a face"})
            assert isinstance(answer, str) and "event: error" in answer


def test_endpoints_answer_bad_input_in_a_sentence(server):
    cases = (
        ("upscale", {"prompt": "a face", "scale": "large"}, "scale must be a number, got 'large'"),
        (
            "upscale",
            {"prompt": "a face", "checkpoint": "/etc"},
            "one of textir-mini-super-resolution, got '/etc'",
        ),
        ("compare", {"prompts": "a face"}, "prompts must be a list, got str"),
        ("compare", {"prompts": ["a"] * 30}, "1 to 24 images; this one would have 90"),
    )
    image = sent(server[0], flat("red"))
    for endpoint, data, match in cases:
        answer = called(server[0], endpoint, {"image": image} | data)
        assert isinstance(answer, str) and match in json.loads('"' + answer.split('"error": "')[1].split('"')[0] + '"')


def test_the_printed_programs_run(server, tmp_path, monkeypatch):
    Image.open(io.BytesIO(flat("red"))).save(tmp_path / "small.png")
    guide = (ROOT / "docs" / "guides" / "space.md").read_text()
    programs = guide[guide.index("## Use it from a program") :].replace("http://127.0.0.1:7860", server[0])
    python, shell = re.findall(r"```\w+[^\n]*\n(.*?)```", programs, re.DOTALL)[:2]
    assert re.findall(r"```python\n(.*?)```", tabs.about(), re.DOTALL) == [python.replace(f'"{server[0]}"', "URL")]
    scope: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(python, scope)
    assert open_image(scope["result"]).size == (192, 192)
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    output = subprocess.run(["bash", "-c", shell], **options).stdout
    assert "event: complete" in output and ".png" in output


def test_every_action_is_an_endpoint_whose_generated_program_runs(server, tmp_path, monkeypatch):
    """With the arguments that "Use via API" prints."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    mask = np.zeros((24, 32), np.uint8)
    mask[4:12, 4:12] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    client = Client(server[0], verbose=False)
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/inpaint", "/upscale", "/colorize", "/edit", "/compare"}
    for name, endpoint in endpoints.items():
        required = [p for p in endpoint["parameters"] if not p["parameter_has_default"]]
        given = {p["parameter_name"]: p["example_input"] for p in required}
        files = {key: handle_file(value["url"]) for key, value in given.items() if isinstance(value, dict)}
        assert client.predict(**given | files, api_name=name), name

"""Results as files: whole or not at all, in formats that can hold them, with what is known of their source."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image
from hypothesis import given, settings
from hypothesis import strategies as st
from image_bytes import encode
from PIL import Image

from textir_hf.atomic import replacing
from textir_hf.imaging.files import (
    LONGEST,
    OPAQUE,
    READABLE,
    SUFFIXES,
    carry_over,
    check_output,
    open_image,
    read_settings,
    save_image,
)


def test_nothing_is_left_behind_where_writing_fails(tmp_path):
    path = tmp_path / "out.png"
    path.write_text("old")
    save_image(make_image(), path)
    assert open_image(path).tobytes() == make_image().tobytes()
    with pytest.raises(ValueError, match="cannot hold the image: cannot write mode"):
        save_image(make_image().convert("CMYK"), path)
    limited = """
import resource, sys
from PIL import Image
from textir_hf.cli.errors import run_safely
from textir_hf.imaging.files import save_image
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for path in sys.argv[1:]:
    assert run_safely(lambda: save_image(Image.effect_noise((64, 64), 9), path)) == 2
"""
    paths = [path, tmp_path / "new.jpg", tmp_path / "new.tif"]
    result = subprocess.run([sys.executable, "-c", limited, *paths], capture_output=True, text=True)
    assert result.stderr == "".join(f"textir: {p} cannot be read or written: file too large.\n" for p in paths)
    assert open_image(path).tobytes() == make_image().tobytes() and list(tmp_path.iterdir()) == [path]


def test_outputs_are_checked_against_path_and_format(tmp_path):
    def refused(message, name, **options):
        with pytest.raises((ValueError, OSError), match=message):
            check_output(tmp_path / name, **options)

    (tmp_path / "folder.png").mkdir()
    refused("exists and is not a file", "folder.png")
    refused("16383 pixels at most, got 20000x5", "out.webp", size=(5, 20_000))
    refused("65500 pixels at most, got 5x65501", "out.jpg", size=(65_501, 5))
    for suffix in OPAQUE:
        refused("would lose the image's transparency", f"out{suffix}", transparent=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_formats_keep_what_they_promise(tmp_path, suffix):
    """The largest sides and the alpha channel, in the file as it is read again."""
    path, longest = tmp_path / f"out{suffix}", LONGEST.get(suffix, 70_000)
    save_image(Image.new("RGB", (longest, 1), "red"), path)
    assert open_image(path).size == (longest, 1) and suffix in READABLE
    image = make_image()
    if suffix not in OPAQUE:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    save_image(image, path)
    again = np.asarray(open_image(path)).astype(int)
    assert abs(again - np.asarray(image)).max() <= (12 if "j" in suffix else 0)


def test_links_are_written_through(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("there.png", "missing.png"):
        (tmp_path / name).symlink_to(Path("real") / name)
    (tmp_path / "real" / "there.png").write_text("old")
    for name in ("there.png", "missing.png"):
        save_image(make_image(), tmp_path / name)
        assert (tmp_path / name).is_symlink() and open_image(tmp_path / "real" / name).size == (40, 36)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["missing.png"] * 2 + ["real"] + ["there.png"] * 2


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("older", [False, True])
def test_a_block_that_is_interrupted_leaves_the_old_alone_and_one_that_ends_the_new(tmp_path, kind, older):
    result = tmp_path / "result"

    def write(path, text):
        if kind == "folder":
            path.mkdir()
        (path / "inside" if kind == "folder" else path).write_text(text)

    if older:
        write(result, "old")
    with pytest.raises(KeyboardInterrupt), replacing(result) as temporary:
        write(temporary, "new")
        raise KeyboardInterrupt
    inside = result / "inside" if kind == "folder" else result
    assert (inside.read_text() == "old") if older else not list(tmp_path.iterdir())
    with replacing(result) as temporary:
        write(temporary, "new")
    assert inside.read_text() == "new" and list(tmp_path.iterdir()) == [result]


def test_an_old_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "old").write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if (self / "new").exists():
            raise OSError(13, "permission denied", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError), replacing(tmp_path / "result") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("result"), Path("result/old")]


def test_exif_is_kept_upright_and_without_what_is_outdated(tmp_path):
    exif = Image.Exif()
    exif[271], exif[274], exif[282], exif[273] = "Camera", 8, 72.0, 9
    exif[0x8769] = {36867: "2024:01:01 10:00:00", 37500: b"made by the camera", 40962: 4000}
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}
    make_image().save(tmp_path / "in.jpg", exif=exif, dpi=(300, 300))
    result = make_image(160, 144)
    carry_over(open_image(tmp_path / "in.jpg"), result)
    for name in ("out.jpg", "out.png", "out.webp", "out.tif"):
        save_image(result, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            kept = image.getexif()
            assert kept[271] == "Camera" and kept[274] == 1, name
            assert kept.get_ifd(0x8769) == {36867: "2024:01:01 10:00:00"} and kept.get_ifd(0x8825)[1] == "N"
            assert name == "out.webp" or round(image.info["dpi"][0]) == 300


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_exif_that_is_damaged_does_no_harm(data):
    exif = Image.Exif()
    exif[271], exif[306], exif[0x8769] = "Camera", "2024:01:01 10:00:00", {33434: 0.01, 37121: b"\1\2\3\0"}
    content = bytearray(exif.tobytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(6, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = open_image(encode(make_image(), "jpeg", exif=bytes(content[: data.draw(st.integers(8, len(content)))])))
    again = Image.Exif()
    again.load(image.info.get("exif", b""))
    assert again.get(274, 1) == 1


def test_settings_are_written_with_any_text(tmp_path):
    image = make_image()
    image.info["textir"] = {"prompt": "ein lächelndes Gesicht 🙂", "model": "\udcff"}
    save_image(image, tmp_path / "a.png")
    assert read_settings(open_image(tmp_path / "a.png")) == image.info["textir"]
    save_image(image, tmp_path / "b.png", metadata=False)
    assert read_settings(open_image(tmp_path / "b.png")) == {}

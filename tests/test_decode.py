"""The decoder: what files hold decides, and whatever is wrong with one becomes one sentence."""

import io
import random
import struct
import sys
import warnings

import numpy as np
import pytest
from conftest import make_image
from image_bytes import BAD_RATIONAL, FORMATS, ORIENTATION, encode, exif, icc, png
from PIL import Image, ImageFile

from textir_hf.imaging import decode
from textir_hf.imaging.decode import open_image

EXACT = ("png", "webp", "bmp", "tiff", "lzw", "deflate")


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flipped, overwritten, repeated and cut bytes, mostly near the start, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
        data[place] ^= 1 << rng.randrange(8)
        new = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", rng.randbytes(8), data[:place], b""))
        data[place : place + rng.choice((len(new), 0, 4, 40))] = new
    return bytes(data[: rng.choice((len(data), len(data), max(len(data) // 2, 16)))] or b"\1")


def test_no_mutation_of_a_file_raises_anything_but_one_sentence(capfd):
    rng, kinds, image = random.Random(20), list(FORMATS), make_image(48, 40)
    tagged = {"icc_profile": icc(b"RGB ", 1.8), "exif": exif(ORIENTATION, BAD_RATIONAL), "dpi": (300, 300)}
    plain = {kind: encode(image, kind) for kind in kinds}
    rich = {kind: encode(image, kind, **tagged) for kind in ("png", "jpeg", "webp")}
    decoded = refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytest would turn the decoder's and Pillow's own into errors
        for number in range(75):
            kind = kinds[number % len(kinds)]
            content = mutate(rng.choice((plain[kind], rich.get(kind, plain[kind]))), rng)
            try:
                result = open_image(content, name=f"file {number}")
            except ValueError as error:
                assert str(error).startswith(f"file {number} ") and str(error).endswith("."), error
                refused += 1
            else:
                assert result.mode in ("RGB", "RGBA") and max(result.size) <= decode.MAX_SIDE
                decoded += 1
    assert decoded > 7 and refused > 25


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_content_and_refused_where_it_is_cut(kind, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries do
    original = make_image(100, 90)
    content = encode(original, kind)
    (tmp_path / "image.txt").write_bytes(content)
    image = open_image(tmp_path / "image.txt")
    error = np.abs(np.asarray(image).astype(int) - np.asarray(original))
    assert image.mode == "RGB" and image.size == (100, 90)
    assert error.max() == 0 if kind in EXACT else error.mean() < 12
    for share in (0.3, 0.9):
        end = content.index(b"\xff\xd9") if kind == "mpo" else len(content)  # the first of its images
        with pytest.raises(ValueError, match="The image"):
            open_image(content[: int(end * share)])


def test_what_is_no_readable_file_is_said(tmp_path):
    make_image().save(tmp_path / "image.png", "EPS")
    long = tmp_path / ("a" * 300 + ".png")
    cases = {tmp_path: "is not a file", tmp_path / "none.png": "is not a file", long: "name too long"}
    for source, message in (cases | {b"": "is not an image", tmp_path / "image.png": "known format"}).items():
        with pytest.raises(ValueError, match=message):
            open_image(source)


@pytest.mark.parametrize("size", [(99_999_999, 1), (1, 2**31 - 1), (200_000, 200_000), (10_001, 10_000)])
def test_giant_sizes_are_refused_on_the_header(size):
    with pytest.raises(ValueError, match=rf"has {size[0]}x{size[1]} pixels"):
        open_image(png(0, 8, size, b""))


@pytest.mark.parametrize("kind", ["tiff", "gif", "webp"])
def test_several_pages_are_refused(kind):
    with pytest.raises(ValueError, match="several pages"):
        open_image(encode(make_image(), kind, save_all=True, append_images=[make_image(seed=1)]))
    assert open_image(encode(make_image(), kind, save_all=True)).size == (40, 36)


WAYS = [("RGB", {}), ("L", {}), ("RGB", {"progressive": True}), ("RGB", {"restart_marker_blocks": 1})]


@pytest.mark.parametrize(("mode", "options"), WAYS, ids=str)
def test_a_jpeg_that_lacks_data_before_its_end_mark_is_refused(mode, options):
    image = make_image(100, 90).convert(mode)
    content = encode(image, "jpeg", **options)
    assert open_image(content).size == (100, 90)
    start = content.rindex(b"\xff\xda") + 14  # of the last scan
    for share in (0.1, 0.35, 0.6, 0.95):
        kept = start + int((len(content) - start - 2) * share)
        with pytest.raises(ValueError, match="lacks the data"):
            open_image(content[:kept].rstrip(b"\xff") + b"\xff\xd9")


HEIC = struct.pack(">I", 28) + b"ftypheic" + bytes(4) + b"mif1heicmiaf"


def test_a_heic_without_its_decoder_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brands in (HEIC, HEIC.replace(b"ftypheic", b"ftypmif1"), HEIC.replace(b"heic", b"heix")):
        with pytest.raises(ValueError, match=r"^a\.HEIC is a HEIC, .*textir-hf\[heif\]"):
            open_image(brands + bytes(100), name="a.HEIC")
    assert open_image(encode(make_image(), "avif")).size == (40, 36)


def test_a_heic_is_read_like_any_other_file(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    tags = Image.Exif()
    tags[0x010F] = "camera"
    file, buffer = heif.from_pillow(make_image(80, 60)), io.BytesIO()
    file.save(buffer, quality=95, exif=tags.tobytes())
    content = buffer.getvalue()
    (tmp_path / "photo.heic").write_bytes(content)
    image = open_image(tmp_path / "photo.heic")
    assert image.mode == "RGB" and image.size == (80, 60)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(make_image(80, 60))).mean() < 5
    kept = Image.Exif()
    kept.load(image.info["exif"])
    assert kept[0x010F] == "camera"
    with pytest.raises(ValueError, match=r"more than 0\.001 million"):
        open_image(content, max_pixels=1000)
    for damaged in (content[:-40], content[: len(content) // 2], HEIC + bytes(100)):
        with pytest.raises(ValueError, match="The image cannot be decoded"):
            open_image(damaged)
    file.add_from_pillow(make_image(40, 30))  # beside the photo
    file.save(buffer := io.BytesIO(), primary_index=0)
    assert open_image(buffer.getvalue()).size == (80, 60)

"""The decoder: what files hold decides, and whatever is wrong with one becomes one sentence."""

import io
import random
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import make_image
from image_bytes import BAD_RATIONAL, FORMATS, ORIENTATION, chunk, encode, exif, icc, png, without_some
from PIL import Image, ImageFile

from textir_hf.imaging import decode
from textir_hf.imaging.decode import open_image

EXACT = ("png", "webp", "bmp", "tiff", "lzw", "deflate")


def change(content: bytes, tag: int, value: int, index: int = 0) -> bytes:
    """A little-endian TIFF with another value in one of its tags."""
    content, start = bytearray(content), struct.unpack_from("<I", content, 4)[0]
    for i in range(struct.unpack_from("<H", content, start)[0]):
        place = start + 2 + 12 * i
        number, kind, count = struct.unpack_from("<HHI", content, place)
        if number == tag:
            form = {3: "<H", 4: "<I"}[kind]
            size = struct.calcsize(form)
            place = place + 8 if size * count <= 4 else struct.unpack_from("<I", content, place + 8)[0]
            struct.pack_into(form, content, place + index * size, value)
    return bytes(content)


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
def test_every_format_is_known_by_its_content(kind, tmp_path):
    (tmp_path / "image.txt").write_bytes(encode(make_image(), kind))
    image = open_image(tmp_path / "image.txt")
    error = np.abs(np.asarray(image).astype(int) - np.asarray(make_image()))
    assert image.mode == "RGB" and image.size == (40, 36)
    assert error.max() == 0 if kind in EXACT else error.mean() < 12


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


def test_a_pngs_text_of_any_size_does_not_keep_its_pixels_from_being_read():
    packed = b"a\0\0" + zlib.compress(bytes(10**7))
    kinds = [
        chunk(b"zTXt", packed),
        chunk(b"iTXt", b"a\0\1\0\0\0" + packed[3:]),
        chunk(b"tEXt", b"a\0" + b"x" * 10**6) * 2,
    ]
    xmp = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    used = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + chunk(b"tEXt", b"textir\0{}")
    for text in kinds:
        for texts in (used + text, text + used):
            content = png(0, 8, (2, 1), b"\0ab", texts)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                image = open_image(content)
            assert image.convert("L").tobytes() == b"ba" and image.info["textir"] == "{}"
            assert len(caught) == (len(text) > 10**6)
    with pytest.raises(ValueError, match="lacks the data"):
        open_image(png(0, 8, (2, 2), b"\0ab", kinds[0]))


def test_a_jpeg_of_too_many_scans_for_its_pixels_is_refused(monkeypatch):
    content = encode(make_image(), "progressive")
    scan = content[content.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(decode, "MAX_SCAN_PIXELS", 40 * 36 * 40)
    assert open_image(content).size == (40, 36)
    with pytest.raises(ValueError, match="scans"):
        open_image(content[:-2] + 60 * scan + content[-2:])


@pytest.mark.parametrize("kind", ["tiff", "gif", "webp", "avif", "png"])
def test_several_pages_are_refused(kind):
    with pytest.raises(ValueError, match="several pages"):
        open_image(encode(make_image(), kind, save_all=True, append_images=[make_image(seed=1)]))
    assert open_image(encode(make_image(), kind, save_all=True)).size == (40, 36)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_that_lacks_some_of_its_pixels_is_refused(compression, capfd):
    content = encode(make_image(64, 64), "tiff", compression=compression, tiffinfo={278: 16})
    assert open_image(content).size == (64, 64)
    damaged = [change(content, 257, 128), change(content, 273, 0, index=2), content[:-40], change(content, 278, 32)]
    damaged.append(change(content, 273, len(content) - 20, index=1))
    for broken in damaged + ([] if compression == "raw" else [change(content, 279, 40, index=1)]):
        with pytest.raises(ValueError, match=r"decoded|strips|lacks"):
            open_image(broken)


WAYS = {
    "baseline": ("jpeg", {}),
    "gray": ("jpeg", {}),
    "progressive": ("jpeg", {"progressive": True}),
    "restart rows": ("jpeg", {"restart_marker_rows": 2}),
    "restart blocks": ("jpeg", {"restart_marker_blocks": 1}),
    "optimized": ("jpeg", {"optimize": True, "subsampling": 0}),
    "png": ("png", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_missing_data_before_an_end_mark_is_seen_whatever_other_libraries_allow(way, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image, (kind, options) = make_image(100, 90), WAYS[way]
    image = image.convert("L") if way == "gray" else image
    assert open_image(encode(image, kind, **options)).size == (100, 90)
    for share in (0.1, 0.35, 0.6, 0.95):
        with pytest.raises(ValueError, match=r"lacks|damaged"):
            open_image(without_some(kind, image, share, **options))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_refused_whatever_other_libraries_allow(kind, monkeypatch, capfd):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = encode(make_image(100, 90), kind)
    assert open_image(content).size == (100, 90)
    for share in (0.3, 0.9):
        end = content.index(b"\xff\xd9") if kind == "mpo" else len(content)  # the first of its images
        with pytest.raises(ValueError, match="The image"):
            open_image(content[: int(end * share)])


def test_a_progressive_jpeg_needs_all_of_its_scans():
    content = encode(make_image(64, 64), "progressive")
    starts = [i for i in range(len(content)) if content[i : i + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for start in starts[1:]:
        tables = content.rindex(b"\xff\xc4", 0, start) if content[start - 40 : start].count(b"\xff\xc4") else start
        with pytest.raises(ValueError, match="lacks"):
            open_image(content[: min(tables, start)] + b"\xff\xd9")


def test_a_tiff_of_jpegs_needs_all_of_each(capfd):
    content = encode(make_image(64, 64), "jpeg-tiff", tiffinfo={278: 32})
    tags = Image.open(io.BytesIO(content)).tag_v2
    assert len(tags[273]) == 2
    for strip in range(2):
        start, size = tags[273][strip], tags[279][strip] * 6 // 10
        damaged = bytearray(content)
        damaged[start + size - 2 : start + size] = b"\xff\xd9"
        with pytest.raises(ValueError, match="lacks"):
            open_image(change(bytes(damaged), 279, size, index=strip))


@pytest.mark.parametrize(("mode", "depth"), [(0, 1), (0, 16), (2, 8), (3, 2), (4, 8), (6, 16)])
def test_a_png_of_any_kind_needs_all_of_its_rows(mode, depth):
    width, height, bits = 11, 13, depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[mode]
    palette = [chunk(b"PLTE", bytes(3 * 256))] if mode == 3 else []
    size = (1 + (width * bits + 7) // 8) * height
    assert open_image(png(mode, depth, (width, height), bytes(size), *palette)).size == (width, height)
    for length in (size - 1, size // 2, 0):
        with pytest.raises(ValueError, match=r"lacks|cannot be decoded"):
            open_image(png(mode, depth, (width, height), bytes(length), *palette))


def test_strict_decoding_ends_with_the_last_of_several_threads(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    good, bad = encode(make_image(100, 90)), encode(make_image(100, 90))[:5000]

    def read(number: int) -> bool:
        try:
            return open_image(bad if number % 2 else good) is not None
        except ValueError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(20))) == [True, False] * 10
    assert ImageFile.LOAD_TRUNCATED_IMAGES

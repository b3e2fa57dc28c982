"""What a file says of its pixels: which way is up, resolution, color profile, depth and transparency."""

import io
import struct

import numpy as np
import pytest
from conftest import make_image
from image_bytes import chunk, encode, icc, png
from PIL import Image, ImageOps

from textir_hf.imaging.decode import open_image
from textir_hf.imaging.profiles import srgb_profile
from textir_hf.imaging.raster import to_mask, to_raster


@pytest.mark.parametrize(
    ("kind", "orientation"), [*(("jpeg", n) for n in (1, 2, 5, 8)), *((k, 6) for k in ("png", "webp", "tiff", "avif"))]
)
def test_every_orientation_is_turned_upright_and_said_no_more(kind, orientation):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "camera"
    content = encode(make_image(), kind, exif=tags)
    image = open_image(content)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(np.asarray(image), np.asarray(expected.convert("RGB")))
    kept = Image.Exif()
    kept.load(image.info.get("exif", b""))
    assert kept.get(0x0112, 1) == 1 and kept.get(0x010F) == "camera"


def test_a_profile_is_what_it_does_and_not_its_name():
    linear = Image.fromarray(np.linspace(0, 255, 36 * 40 * 3).reshape(36, 40, 3).round().astype(np.uint8))
    results = [open_image(encode(linear, icc_profile=icc(b"RGB ", 1.0, n))) for n in ("sRGB built-in", "linear", "")]
    assert all(np.array_equal(np.asarray(results[0]), np.asarray(r)) for r in results)
    assert results[0].info["icc_profile"] == srgb_profile().tobytes()
    x = np.asarray(linear) / 255
    expected = np.where(x > 0.0031308, 1.055 * x ** (1 / 2.4) - 0.055, 12.92 * x) * 255
    assert np.abs(np.asarray(results[0]) - expected).max() < 3
    same = open_image(encode(linear, icc_profile=srgb_profile().tobytes()))
    assert np.array_equal(np.asarray(same), np.asarray(linear))


@pytest.mark.parametrize("profile", [None, icc(b"GRAY", 1.0), icc(b"GRAY", 1.8), icc(b"GRAY", 2.2)])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_of_gray_become_what_eight_become(kind, profile):
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    options = {} if profile is None else {"icc_profile": profile}
    eight = open_image(encode(Image.fromarray(levels), kind, **options))
    sixteen = open_image(encode(Image.fromarray(levels.astype(np.uint16) * 257), kind, **options))
    assert eight.info.keys() == sixteen.info.keys()
    assert np.abs(np.asarray(eight).astype(int) - np.asarray(sixteen)).max() <= 1


@pytest.mark.parametrize("depth", [1, 8])
def test_the_one_transparent_color_is_kept_at_every_depth(depth):
    top = 2**depth - 1
    row = bytes([top, 1] if depth == 8 else [top << (8 - depth)])
    image = open_image(png(0, depth, (2, 1), b"\0" + row, chunk(b"tRNS", struct.pack(">H", top))))
    assert image.mode == "RGBA" and list(image.getchannel("A").tobytes()) == [0, 255]


@pytest.mark.parametrize("way", ["tiff", "image"])
def test_thirty_two_bits_have_the_range_of_their_values(way):
    levels = np.arange(256, dtype=np.int32).reshape(16, 16)
    for factor in (1, 257):
        image = Image.fromarray(levels * factor)
        assert image.mode == "I"
        found = open_image(encode(image, "tiff")) if way == "tiff" else image
        assert np.array_equal(to_raster(found).rgb[..., 1], levels)
        mask = Image.fromarray(np.where(levels > 99, 255 * factor, 0).astype(np.int32))
        assert np.array_equal(to_mask(mask, (16, 16)), levels > 99)


@pytest.mark.parametrize(("kind", "depth", "key"), [(0, 4, b"\0\x05"), (0, 16, b"\x124"), (2, 16, b"\x124" * 3)])
def test_a_transparent_color_of_any_depth_is_seen_and_missing_rows_are_not_filled(kind, depth, key):
    row = b"\0" + (b"\x55" * 5 if depth == 4 else key * 10)
    assert np.asarray(open_image(png(kind, depth, (10, 10), row * 10, chunk(b"tRNS", key))))[..., 3].max() == 0
    with pytest.raises(ValueError, match="lacks the data"):
        open_image(png(kind, depth, (10, 10), row * 5))

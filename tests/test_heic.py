"""HEIC, as iPhones write it: read with an extra, which is named where it is missing."""

import io
import struct
import sys

import numpy as np
import pytest
from conftest import make_image
from image_bytes import encode
from PIL import Image

from textir_hf.imaging.decode import open_image

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

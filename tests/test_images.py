import io

import numpy as np
import pytest
from conftest import make_image
from PIL import Image, ImageFilter

from textir_hf.imaging.files import open_image
from textir_hf.imaging.raster import Raster, fill_transparent, to_mask, to_raster
from textir_hf.pipeline.pipeline import to_output


def test_transparency_is_told_apart_and_opaque_alpha_dropped():
    rgba = np.dstack([np.asarray(make_image()), np.full((36, 40), 255, np.uint8)])
    assert to_raster(rgba).alpha is None
    rgba[3:5, 2, 3] = 7
    raster = to_raster(Image.fromarray(rgba))
    assert np.array_equal(raster.alpha, rgba[..., 3]) and np.array_equal(raster.rgb, rgba[..., :3])
    palette = Image.new("P", (4, 4))
    palette.info["transparency"] = 0
    assert to_raster(palette).alpha.max() == 0
    (image,) = to_output([raster], "pil", [{}])
    assert image.mode == "RGBA" and np.array_equal(np.asarray(image), rgba)


def test_a_blurred_mask_is_one_and_a_photo_is_none():
    box = Image.new("L", (64, 64))
    box.paste(255, (16, 16, 48, 48))
    mask = to_mask(box.filter(ImageFilter.GaussianBlur(3)), (64, 64))
    assert np.abs(mask.astype(int) - (np.asarray(box) > 0)).mean() < 0.01
    buffer = io.BytesIO()
    box.save(buffer, "JPEG", quality=40)
    assert np.array_equal(to_mask(open_image(buffer.getvalue()), (64, 64)), np.asarray(box) > 0)
    ramp = np.full((8, 256), 255, np.uint8)
    ramp[0] = np.arange(256)
    assert np.array_equal(to_mask(Image.fromarray(ramp), (8, 256))[0], np.arange(256) >= 128)
    for photo in (make_image(), make_image().convert("L"), Image.new("L", (40, 36), 140)):
        with pytest.raises(ValueError, match=r"mask must be black and white.*looks like a photo"):
            to_mask(photo, (36, 40), "mask")


def test_a_masked_region_in_the_alpha_channel_is_that_region():
    region = np.zeros((36, 40), bool)
    region[10:20, 5:15] = True
    alpha = Image.fromarray(np.where(region, 0, 255).astype(np.uint8))
    for content in (make_image(), Image.new("RGB", (40, 36))):  # the image itself, or all black
        image = content.copy()
        image.putalpha(alpha)
        assert np.array_equal(to_mask(image, (36, 40)), region)
    drawing = Image.fromarray(np.where(np.arange(40) % 4 == 0, 0, 255).astype(np.uint8)[None].repeat(36, 0))
    drawing.putalpha(alpha)
    with pytest.raises(ValueError, match="black, white and transparent, so it may mean two regions"):
        to_mask(drawing, (36, 40))
    painted = Image.new("RGBA", (40, 36), (255, 255, 255, 0))  # white everywhere, but seen in one place only
    for nothing in (painted, Image.new("L", (40, 36))):
        with pytest.raises(ValueError, match="marks nothing"):
            to_mask(nothing, (36, 40))
    painted.paste((255, 255, 255, 255), (3, 4, 10, 8))
    assert to_mask(painted, (36, 40)).sum() == 28


def test_transparent_pixels_take_the_nearest_color():
    rgb = np.asarray(make_image()).copy()
    alpha = np.full((36, 40), 255, np.uint8)
    alpha[:, :10], alpha[30, 30], alpha[0, 12] = 0, 0, 3
    filled = fill_transparent(Raster(rgb, alpha)).rgb
    assert np.array_equal(filled[alpha > 0], rgb[alpha > 0])
    assert np.array_equal(filled[5, :10], rgb[5, 10][None].repeat(10, 0))
    assert (np.abs(filled[30, 30].astype(int) - rgb[29:32, 29:32]).sum(-1) == 0).sum() >= 1
    for unchanged in (None, np.full((36, 40), 9, np.uint8), np.zeros((36, 40), np.uint8)):
        raster = Raster(rgb, unchanged)
        assert fill_transparent(raster) is raster

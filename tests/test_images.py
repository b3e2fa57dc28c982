import numpy as np
import pytest
import torch
from conftest import hole, picture
from PIL import Image

from textir_hf.images import open_image, save_image, to_array, to_mask, to_output, to_rgb, to_tensor


def test_every_kind_of_picture_becomes_the_same_rgb():
    image = picture()
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).movedim(-1, 0).float() / 255
    for kind in (image, array, array / 255, tensor, image.convert("RGBA")):
        assert np.array_equal(to_rgb(kind), array)
    assert np.array_equal(to_array(to_tensor(array)), array)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA"])
def test_other_modes_become_rgb(mode):
    rgb = to_rgb(picture().convert("LA" if mode == "LA" else mode))
    assert rgb.shape == (36, 40, 3) and rgb.dtype == np.uint8


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Image.new("RGBA", (4, 4), (0, 0, 0, 100)), "opaque"),
        (Image.new("I;16", (4, 4)), "8 bits"),
        (np.zeros((4, 4, 5), np.uint8), r"\[H, W, 3\]"),
        (np.full((4, 4, 3), 2.0), r"in \[0, 1\], got 2 to 2"),
        (np.full((4, 4, 3), np.nan), r"in \[0, 1\]"),
    ],
)
def test_unfit_pictures_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(value)


def test_a_path_is_no_picture():
    with pytest.raises(TypeError, match="got str"):
        to_rgb("picture.png")


def test_mask_is_true_from_half_white_on():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(2, 0))
    assert np.array_equal(to_mask(ramp, (2, 256))[0], np.arange(256) >= 128)


def test_unfit_masks_are_refused():
    with pytest.raises(ValueError, match="40x36, got 36x40"):
        to_mask(hole(36, 40), (36, 40))
    with pytest.raises(ValueError, match="marks nothing"):
        to_mask(Image.new("L", (40, 36)), (36, 40))


def test_files_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (36, 40)


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    picture(400, 400).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    for name, message in (
        ("missing.png", "is no file"),
        ("text.png", "not a picture"),
        ("cut.png", "cannot be decoded"),
    ):
        with pytest.raises(ValueError, match=message):
            open_image(tmp_path / name)


def test_saving_replaces_whole_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "out.png"
    path.write_text("old")
    save_image(picture(), path)
    assert open_image(path).tobytes() == picture().tobytes()
    with pytest.raises(OSError, match="cannot write mode"):
        save_image(picture().convert("CMYK"), path)
    assert open_image(path).tobytes() == picture().tobytes()
    with pytest.raises(ValueError, match="must end in one of"):
        save_image(picture(), tmp_path / "out.gif2")
    with pytest.raises(ValueError, match="does not exist"):
        save_image(picture(), tmp_path / "no" / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_output_types_agree():
    arrays = [np.asarray(picture(seed=s)) for s in range(2)]
    images, floats, tensors = (to_output(arrays, t) for t in ("pil", "np", "pt"))
    assert floats.shape == (2, 36, 40, 3) and tensors.shape == (2, 3, 36, 40)
    for i in range(2):
        assert np.array_equal(np.asarray(images[i]), (floats[i] * 255).round())
        assert np.array_equal(floats[i], tensors[i].movedim(0, -1).numpy())
    mixed = to_output([arrays[0], arrays[1][:10]], "pt")
    assert [tuple(t.shape) for t in mixed] == [(3, 36, 40), (3, 10, 40)]

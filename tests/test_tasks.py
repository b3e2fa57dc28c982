"""Tasks on images of any size, around networks that are one line long."""

import numpy as np
import pytest
import torch
from conftest import make_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from textir_hf.imaging import resample
from textir_hf.imaging.faces import Frame, frame_places, paste_from_frame
from textir_hf.imaging.raster import Raster, to_raster
from textir_hf.imaging.resample import to_bytes, upsample_bytes
from textir_hf.tasks import TASKS
from textir_hf.tasks.base import Canvas, Request, Task, Window

CPU = torch.device("cpu")
INPAINTING, SUPER_RESOLUTION, COLORIZATION = (TASKS[n] for n in ("inpainting", "super-resolution", "colorization"))


def drive(canvas: Canvas, network):
    """Fills a canvas with a function in the network's place: the result `[H, W, 3]`, and the windows in their order."""
    windows = list(canvas.windows())  # all at once, as a large batch would take them
    for window in windows:
        window.paste(network(window.degraded[None])[0])
    assert len(windows) == canvas.count
    return canvas.result().movedim(0, -1).numpy(), windows


def identity(x):
    return x


def upsampled(image: Raster, size):
    return upsample_bytes(torch.from_numpy(image.rgb).movedim(-1, 0)[None], size)[0].movedim(0, -1).numpy()


@pytest.mark.parametrize("size", [(40, 60), (64, 64), (100, 70), (257, 130)])
def test_tiles_of_a_network_that_changes_nothing_leave_no_seam(size):
    image = to_raster(make_image(size[1] // 2, size[0] // 2))
    size = tuple(2 * side for side in image.size)
    canvas = SUPER_RESOLUTION.canvas(Request(image, scale=2, tile=64), 32, CPU)
    result, inputs = drive(canvas, identity)
    assert np.array_equal(result, upsampled(image, size)) and {i.skip_strength for i in inputs} == {2 / 64}
    assert max(max(i.degraded.shape) for i in inputs) <= 64


def test_a_boxed_upscale_is_bicubic_elsewhere():
    image = to_raster(make_image(60, 50))
    canvas = SUPER_RESOLUTION.canvas(Request(image, scale=4, box=(10, 5, 26, 21)), 32, CPU)
    result, [single] = drive(canvas, lambda x: 1 - x)
    assert single.degraded.shape == (3, 32, 32) and single.skip_strength == pytest.approx(2 / 64)
    changed = (result != upsampled(image, (200, 240))).any(-1)
    assert changed.sum() == changed[20:84, 40:104].sum() > 0
    with pytest.raises(ValueError, match="box has 30x30 pixels, and this checkpoint restores to 32"):
        SUPER_RESOLUTION.canvas(Request(image, scale=4, box=(0, 0, 30, 30)), 32, CPU)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(60, 130), st.integers(60, 130), st.floats(4, 40), st.floats(30, 60), st.floats(0, 6.28))
def test_an_edited_face_stays_where_it_is(height, width, factor, side, angle):
    """For a network that adds nothing, the face is the image at low resolution, at the same place."""
    scale = side * np.exp(1j * angle)
    frame = Frame(complex(scale), complex(width / 2, height / 2) - complex(scale) * (0.5 + 0.5j))
    image = Raster(np.mgrid[:height, :width].transpose(1, 2, 0)[..., [0, 1, 0]].astype(np.uint8))  # its own coordinates
    result, windows = drive(SUPER_RESOLUTION.canvas(Request(image, factor=factor, frames=(frame,)), 32, CPU), identity)
    if windows:
        (left, top, right, bottom), _, weights = frame_places(frame, image.size)
        error = (result[top:bottom, left:right].astype(float) - image.rgb[top:bottom, left:right])[weights.numpy() == 1]
        assert np.abs(error.mean(0)).max() < 0.6


def test_an_edit_changes_nothing_outside_its_box_not_even_what_is_transparent(pipeline):
    image = make_image(60, 50).convert("RGBA")
    image.paste((255, 0, 0, 0), (30, 5, 55, 30))
    (result,) = pipeline("super-resolution").edit("a face", image, factor=4, box=(2, 2, 38, 40)).images
    changed = (np.asarray(result) != np.asarray(image)).any(-1)
    assert changed.sum() == changed[2:40, 2:38].sum() > 0


def test_every_face_of_the_least_factor_is_restored():
    image, rng = to_raster(make_image(90, 90)), np.random.default_rng(0)
    for real, imaginary in rng.uniform(15, 40, (100, 2)):
        frame = Frame(complex(real, imaginary), 45 + 10j)
        assert SUPER_RESOLUTION.canvas(Request(image, factor=frame.side / 16, frames=(frame,)), 32, CPU).count == 1


@pytest.mark.parametrize("order", [1, -1])
def test_of_overlapping_frames_each_has_the_pixels_nearest_to_its_middle(order):
    frames = [Frame(60 + 0j, 5 + 5j), Frame(40 + 0j, 45 + 15j)][::order]
    canvas = torch.full((3, 70, 90), 100, dtype=torch.uint8)
    for frame in frames:
        paste_from_frame(canvas, torch.full((3, 32, 32), frame.side / 100), frame, frames=frames)
    row = canvas[0, 34].int()
    assert (row[15:50] == 153).all() and (row[57:80] == 102).all()
    assert row[50:57].min() >= 102 and row.diff()[14:80].abs().max() < 25  # they meet without a step, and hide the rest


@pytest.mark.parametrize("sides", [(20,), (20, 24), (12, 20)])
def test_a_face_larger_than_the_network_is_enlarged_plainly_and_noted(sides):
    image, frames = (
        to_raster(make_image(60, 50)),
        tuple(Frame(side + 0j, 2 + 30 * i + 2j) for i, side in enumerate(sides)),
    )
    request = Request(image, scale=4, frames=frames)
    result, windows = drive(SUPER_RESOLUTION.canvas(request, 32, CPU), lambda x: 1 - x)
    left, plain = 4 * (30 if 12 in sides else 0), upsampled(image, (200, 240))
    assert np.array_equal(result[:, left:], plain[:, left:]) and len(windows) == (12 in sides)
    assert "20x20" in request.settings["note"] and "12x12" not in request.settings["note"]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(20, 120), st.integers(20, 120), st.integers(2, 64), st.data())
def test_a_boxed_edit_changes_nothing_outside_its_box_or_says_why(height, width, factor, data):
    left, top = data.draw(st.integers(0, width - 4)), data.draw(st.integers(0, height - 4))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    image = to_raster(make_image(width, height))
    try:
        canvas = SUPER_RESOLUTION.canvas(Request(image, factor=factor, box=(left, top, right, bottom)), 32, CPU)
    except ValueError as error:
        assert "it has nothing to add" in str(error)
        return
    result, _ = drive(canvas, lambda x: 1 - x)
    changed = (result != image.rgb).any(-1)
    changed[top:bottom, left:right] = False
    assert result.shape == image.rgb.shape and not changed.any()


@pytest.mark.parametrize("shape", [(20, 1500), (1500, 20)])
@pytest.mark.parametrize("boxed", [False, True])
def test_no_input_of_the_network_grows_with_the_images_long_side(shape, boxed):
    image = to_raster(make_image(shape[1], shape[0]))
    mask = np.zeros(shape, bool)
    mask[2:-2, 2:-2] = True
    box = (0, 0, shape[1], shape[0]) if boxed else None
    canvases = [
        (INPAINTING.canvas(Request(image, mask, box=box), 32, CPU), lambda x: x[:, :3]),
        (COLORIZATION.canvas(Request(image), 32, CPU), lambda x: x.expand(-1, 2, -1, -1) * 0),
        (SUPER_RESOLUTION.canvas(Request(image, scale=4, box=box, tile=128), 64, CPU), identity),
        (SUPER_RESOLUTION.canvas(Request(image, factor=4, box=box, tile=128), 32, CPU), identity),
    ]
    for canvas, network in canvases:
        result, inputs = drive(canvas, network)
        assert canvas.count > 1 and max(max(i.degraded.shape) for i in inputs) <= 256
        assert result.shape[1] % shape[1] == 0


@pytest.mark.parametrize("arguments", [{"scale": 4}, {"scale": 4, "tile": 32}, {"scale": 4, "box": (4, 4, 20, 20)}])
def test_an_upscaled_image_shrunk_again_is_the_small_one(pipeline, arguments):
    pipe, image = pipeline("super-resolution"), make_image(24, 24)
    (result,) = pipe("a face", image, **arguments).images
    assert np.abs(np.asarray(result, float) - np.asarray(image.resize(result.size, Image.BICUBIC))).mean() > 1  # detail
    again = np.asarray(result.resize(image.size, Image.BICUBIC)).astype(float)
    assert np.abs(again - np.asarray(image)).mean() < 6  # of 255; the untrained network's image is 60 away


def test_an_image_below_the_trained_size_is_restored_at_that_size_and_shrunk(pipeline):
    pipe, small = pipeline("super-resolution"), make_image(8, 6)  # trained at 32
    large, result = (pipe("a face", small, scale=scale, output_type="pt").images for scale in (4, 2))
    assert result.shape[-2:] == (12, 16)
    seen = resample.to_tensor(np.asarray(small))
    expected = resample.keep_low_resolution(resample.resize(large, (12, 16)), resample.upsample(seen, (12, 16)), 2)
    assert (result - expected.clamp(0, 1)).abs().max() < 2.1 / 255


def test_no_window_of_any_size_holds_a_trace_of_what_is_masked():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(40, 160, 2)
        image, hidden = rng.integers(0, 256, (2, height, width, 3)).astype(np.uint8)
        mask = (rng.random((height // 7 + 1, width // 7 + 1)) > 0.6).repeat(7, 0).repeat(7, 1)[:height, :width]
        scale, offset = rng.uniform(20, 90) * np.exp(1j * rng.uniform(-0.5, 0.5)), complex(*rng.uniform(0, 40, 2))
        images, frames = (image, np.where(mask[..., None], hidden, image)), (Frame(scale, offset),) * (seed % 2)
        requests = [Request(to_raster(Image.fromarray(i)), mask, frames=frames) for i in images]
        shown, other = (TASKS["inpainting"].canvas(r, 32, torch.device("cpu")).windows() for r in requests)
        for a, b in zip(shown, other, strict=True):
            assert torch.equal(a.degraded, b.degraded)


class Denoising(Task):
    """A fourth task, as short as one can be."""

    name = "denoising"
    command = "denoise"
    summary = "remove noise"
    usage = 'pipe("a face", image)'

    degradation = "noise"

    def canvas(self, request, sample_size, device):
        return DenoisingCanvas(request, device)

    def degrade(self, target, rng, draw_mask):
        generator = torch.Generator().manual_seed(rng.getrandbits(60))
        return {"degraded": (target + 0.1 * torch.randn(target.shape, generator=generator))[0]}


class DenoisingCanvas(Canvas):
    count = 1

    def __init__(self, request, device):
        self.image = torch.from_numpy(request.image.rgb).to(device).movedim(-1, 0)

    def windows(self):
        yield Window(self.image.float() / 255, self.paste)

    def paste(self, sample):
        self.restored = to_bytes(sample)

    def result(self):
        return self.restored

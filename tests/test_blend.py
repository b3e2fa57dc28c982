"""Restored regions against the exact solution of Laplace's equation, and against what they border on."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from test_tasks import CPU, INPAINTING, drive

from textir_hf.imaging.faces import Frame, frame_places, paste_from_frame
from textir_hf.imaging.masks import composite, harmonic, match_border
from textir_hf.imaging.raster import Raster
from textir_hf.imaging.resample import to_array
from textir_hf.metrics.functional import seam
from textir_hf.tasks.base import Request


def smooth(count: int, seed: int = 0) -> torch.Tensor:
    """Images `[count, 3, 61, 84]` in [0.2, 0.8] without fine structure."""
    coarse = torch.rand(count, 3, 6, 7, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2
    return torch.nn.functional.interpolate(coarse, (61, 84), mode="bilinear")


def regions() -> torch.Tensor:
    """A region with a known island, half an image, many thin regions, a whole image: `[4, 1, 61, 84]`."""
    masks = torch.zeros(4, 1, 61, 84)
    masks[0, :, 8:50, 10:70] = 1
    masks[0, :, 15:20, 20:30] = 0
    masks[1, ..., 42:] = 1
    masks[2, ..., ::5] = 1
    masks[3] = 1
    return masks


def exact_harmonic(values: np.ndarray, given: np.ndarray) -> np.ndarray:  # [H, W], [H, W] bool -> [H, W]
    lines = [sparse.diags([np.ones(side - 1)] * 2, [-1, 1]) for side in given.shape]
    adjacent = sparse.kronsum(*lines[::-1]).tocsr()
    laplacian = (sparse.diags(np.asarray(adjacent.sum(1)).ravel()) - adjacent).tocsr()
    free, result = ~given.ravel(), values.ravel().copy()
    result[free] = spsolve(laplacian[free][:, free].tocsc(), -laplacian[free][:, ~free] @ result[~free])
    return result.reshape(given.shape)


@pytest.mark.parametrize("index", range(3))
def test_the_continuation_solves_laplaces_equation(index):
    mask = regions()[index : index + 1]
    values = (smooth(1) - 0.5) * (1 - mask)
    ours = harmonic(values, 1 - mask)[0].numpy()
    exact = np.stack([exact_harmonic(v, mask[0, 0].numpy() == 0) for v in values[0].double().numpy()])
    error, inside = np.abs(ours - exact), mask[0, 0].numpy() == 1
    assert np.array_equal(ours[:, ~inside], values[0].numpy()[:, ~inside])
    assert error.max() < 0.07 * np.ptp(exact) and error[:, inside].mean() < 0.025 * np.ptp(exact)


def test_the_pixels_on_both_sides_of_the_border_count():
    mask = regions()[2:3]
    known, restored = torch.full((1, 1, 61, 84), 0.5), 0.4 + 0.2 * mask  # too dark outside, as much too light inside
    torch.testing.assert_close(match_border(restored, known, mask), restored, atol=1e-6, rtol=0)


def test_an_offset_of_the_content_leaves_no_seam():
    target, mask = smooth(3), regions()[:3]
    offset = target + torch.tensor([0.15, -0.1, 0.1])[:, None, None]
    for restored, atmost in ((offset, None), (match_border(offset, target, mask), 1)):
        images = composite(target, restored, mask)
        for image, original, m in zip(images, target, mask, strict=True):
            step = seam(to_array(image[None]), to_array(original[None]), m[0].numpy() == 1)
            assert step > 3 if atmost is None else step <= atmost


def test_what_the_region_hid_has_no_influence_and_gradients_flow():
    restored, known, mask = smooth(4).requires_grad_(), smooth(4, 1), regions()
    inside = mask.expand_as(known) == 1
    blended = match_border(restored, known, mask)
    assert torch.equal(blended[inside], match_border(restored, known.where(~inside, torch.rand(1)), mask)[inside])
    blended[:3][inside[:3]].square().sum().backward()
    assert (restored.grad[inside][: inside[:3].sum()] != 0).all() and (restored.grad[:3][~inside[:3]] != 0).any()


def test_a_task_blends_as_its_canvas_does():
    image, mask = Raster(to_array(smooth(1))), np.zeros((61, 84), bool)
    mask[10:40, 20:50] = True

    def network(x):
        return x[:, :3] * 0.7 + 0.1

    result, [single] = drive(INPAINTING.canvas(Request(image, mask, box=(0, 0, 84, 61)), 64, CPU), network)
    target = torch.from_numpy(image.rgb).movedim(-1, 0)[None] / 255
    batch = {"mask": torch.from_numpy(mask)[None, None].float()}
    restored = to_array(INPAINTING.restored(network(single.degraded[None]), target, batch))
    assert np.array_equal(result[~mask], image.rgb[~mask]) and np.array_equal(restored[~mask], image.rgb[~mask])
    assert np.abs(restored.astype(int) - result).max() <= 3  # the canvas blends around the region alone


@pytest.mark.parametrize("angle", [0, 0.4])
def test_a_face_of_another_brightness_leaves_no_seam(angle):
    canvas, mask = torch.full((3, 90, 100), 150, dtype=torch.uint8), torch.zeros(90, 100, dtype=torch.bool)
    mask[30:70, 35:] = True  # it reaches beyond the frame, where the face fades out
    canvas[:, mask] = 0
    frame = Frame(60 * np.exp(1j * angle), 20 + 15j)
    paste_from_frame(canvas, torch.full((3, 32, 32), 0.2), frame, mask)
    (left, top, right, bottom), _, weights = frame_places(frame, (90, 100))
    assert (canvas[:, top:bottom, left:right][:, weights == 1] == 150).all()
    assert (canvas[:, ~mask] == 150).all() and (canvas[:, 30:70, 95:] == 0).all()

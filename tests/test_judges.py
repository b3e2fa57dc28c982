import numpy as np
import pytest
import torch

from textir_hf.metrics.functional import detail, is_recognized, seam


def gray(values: np.ndarray) -> np.ndarray:  # [H, W] -> [H, W, 3]
    return np.repeat(values.astype(np.uint8)[..., None], 3, 2)


def checkerboard(side: int, low: int, high: int) -> np.ndarray:
    return gray(np.where(np.indices((side, side)).sum(0) % 2, high, low))


def center(side: int = 16) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = True
    return mask


@pytest.mark.parametrize("mask", [None, center()])
def test_detail_is_the_square_of_the_contrast(mask):
    target = checkerboard(16, 60, 180)
    assert detail(target, target, mask) == 1
    assert detail(checkerboard(16, 90, 150), target, mask) == pytest.approx(0.25)
    assert detail(gray(np.full((16, 16), 120)), target, mask) == 0


def test_detail_of_one_bright_pixel_is_known_and_a_flat_original_has_energy_1():
    flat = gray(np.full((9, 9), 50))
    spot = flat.copy()
    spot[4, 4] += 9
    assert detail(flat, flat) == 0
    # Laplacian: -36 at the spot, 9 at its four neighbors; of the ramp: 10 on the first and -10 on the last column.
    assert detail(spot, flat) == pytest.approx((36**2 + 4 * 9**2) / 81)
    ramp = gray(np.tile(np.arange(9) * 10, (9, 1)))
    assert detail(spot, ramp) == pytest.approx((36**2 + 4 * 9**2) / (18 * 10**2))


def test_a_seam_is_the_step_across_the_border_against_the_originals():
    ramp = gray(np.tile(np.arange(16) * 4, (16, 1)))
    mask = np.zeros((16, 16), bool)
    mask[:, 8:] = True  # one vertical border, where the ramp steps by 4
    assert seam(ramp, ramp, mask) == 1
    shifted = np.where(mask[..., None], ramp + 6, ramp).astype(np.uint8)
    assert seam(shifted, ramp, mask) == pytest.approx(10 / 4)
    assert seam(shifted, ramp, ~mask) == pytest.approx(10 / 4)
    flat = gray(np.full((16, 16), 100))
    assert seam(flat, flat, mask) == 0
    assert seam(np.where(mask[..., None], flat + 2, flat).astype(np.uint8), flat, mask) == 4  # half a level at least


@pytest.mark.parametrize("count", [24, 60])
def test_a_result_is_compared_with_distinct_originals(count):
    originals = torch.eye(count)
    for index in (0, 7, count - 1):
        found = [i for i in range(count) if not is_recognized(originals[index] + 2 * originals[i], originals, index)]
        assert len(found) == 23 and index not in found  # each other candidate is nearer then

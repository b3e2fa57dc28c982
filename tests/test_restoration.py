from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import picture
from textir_hf.XXX.restoration import _upsample, colorize, enlarge, enlarge_box, fill_holes, trained_size

from textir_hf.imaging.geometry import tile_spans
from textir_hf.imaging.raster import to_raster


class Identity:
    """Stands where the network would, and gives back what a function of its input says."""

    def __init__(self, function=lambda x: x):
        self.function, self.expected, self.shapes, self.strengths = function, 0, [], []

    def expect(self, runs):
        self.expected += runs

    def __call__(self, degraded, strength=None):
        self.shapes.append(tuple(degraded.shape[-2:]))
        self.strengths.append(strength)
        return self.function(degraded)


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(10, 32, 8), (32, 32, 8), (33, 32, 8), (100, 32, 8), (1000, 64, 16)]
)
def test_spans_cover_all_and_share_enough(length, tile, overlap):
    spans = tile_spans(length, tile, overlap)
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(b - a == min(tile, length) for a, b in spans)
    assert all(first[1] - second[0] >= overlap for first, second in pairwise(spans))


@pytest.mark.parametrize("size", [(40, 60), (64, 64), (100, 70), (257, 130)])
def test_tiles_of_a_network_that_changes_nothing_leave_no_seam(size):
    rgb, run = to_raster(picture(30, 20)).rgb, Identity()
    result = enlarge(rgb, size, 0.1, 64, 16, run)
    assert result.shape == (*size, 3) and run.expected == len(run.shapes)
    assert np.array_equal(result, _upsample(rgb, size)) and set(run.strengths) == {0.1}
    assert max(max(s) for s in run.shapes) <= 64


def test_seams_blend_what_tiles_say_differently():
    steps = iter(torch.linspace(0.2, 0.8, 3))
    run = Identity(lambda x: torch.full_like(x, float(next(steps))))
    row = enlarge(to_raster(picture(40, 10)).rgb, (40, 160), 0.1, 64, 16, run)[20, :, 0].astype(int)
    assert row[0] == 51 and row[-1] == 204 and (np.diff(row) >= 0).all() and np.diff(row).max() < 20


def test_a_boxed_enlargement_is_bicubic_elsewhere():
    rgb, run = to_raster(picture(60, 50)).rgb, Identity(lambda x: torch.zeros_like(x))
    result = enlarge_box(rgb, (200, 240), (10, 5, 26, 21), 32, run)
    plain = _upsample(rgb, (200, 240))
    assert run.shapes == [(32, 32)] and run.strengths == [pytest.approx(2 / 64)]
    outside = np.ones((200, 240), bool)
    outside[20:84, 40:104] = False
    assert np.array_equal(result[outside], plain[outside]) and result[45:60, 65:80].max() == 0
    with pytest.raises(ValueError, match="box has 30x30 pixels, and this checkpoint restores to 32"):
        enlarge_box(rgb, (200, 240), (0, 0, 30, 30), 32, run)


def test_a_feather_lies_inside_the_mask():
    rgb = np.full((60, 60, 3), 200, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:60] = True  # touches the border, where nothing is to be blended
    run = Identity(lambda x: torch.zeros_like(x[:, :3]))
    hard = fill_holes(rgb, mask, [((0, 0, 60, 60), mask)], 64, 0, run)
    soft = fill_holes(rgb, mask, [((0, 0, 60, 60), mask)], 64, 5, run)
    assert (hard[mask] == 0).all() and (hard[~mask] == 200).all() and (soft[~mask] == 200).all()
    assert (np.diff(soft[20:25, 50, 0].astype(int)) < 0).all() and soft[30, 59, 0] == 0 and 100 < soft[20, 30, 0] < 200


def test_gray_colors_give_the_lightness_back():
    gray = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, 2)
    run = Identity(lambda x: torch.zeros(1, 2, *x.shape[-2:]))
    assert np.array_equal(colorize(gray, 8, run), gray) and run.shapes == [(8, 8)]


def test_trained_size_never_enlarges():
    assert trained_size(100, 50, 64) == (100, 50) and trained_size(200, 100, 64) == (128, 64)

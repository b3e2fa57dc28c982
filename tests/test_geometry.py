from itertools import pairwise

import numpy as np
import pytest

from textir_hf.imaging.masks import feather_weights, mask_crops
from textir_hf.imaging.tiles import tile_spans, tile_weights


def crops_of(shape, *regions, size=32):
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in regions:
        mask[top:bottom, left:right] = True
    return mask, mask_crops(mask, size)


def test_a_crop_is_three_times_its_region_and_in_the_image():
    _, [(box, part)] = crops_of((300, 400), (100, 120, 200, 240))
    assert box == (160, 50, 280, 170) and part.shape == (120, 120) and part.sum() == 800
    for region in ((0, 20, 0, 40), (280, 300, 360, 400), (0, 300, 0, 400)):
        mask, [((left, top, right, bottom), part)] = crops_of((300, 400), region)
        assert 0 <= left < right <= 400 and 0 <= top < bottom <= 300 and part.sum() == mask.sum()


def test_small_regions_are_seen_at_the_trained_size_and_share_a_crop():
    mask, crops = crops_of((300, 400), (10, 12, 10, 12), (20, 22, 20, 22), (200, 203, 300, 302))
    assert [(b[2] - b[0], b[3] - b[1]) for b, _ in crops] == [(32, 32), (32, 32)]
    assert sorted(p.sum() for _, p in crops) == [6, 8]
    covered = np.zeros_like(mask, int)
    for (left, top, right, bottom), part in crops:
        covered[top:bottom, left:right] += part
    assert np.array_equal(covered, mask)
    assert len(mask_crops(np.eye(64, dtype=bool), 16)) == 1  # diagonal pixels are one region
    assert mask_crops(np.zeros((9, 9), bool), 16) == []  # all of it is filled in the frames of faces


@pytest.mark.parametrize(("length", "tile", "overlap"), [(10, 32, 8), (33, 32, 8), (113, 64, 16), (1000, 64, 16)])
def test_spans_cover_all_share_enough_and_weigh_one_in_sum(length, tile, overlap):
    spans = tile_spans(length, tile, overlap)
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(b - a == min(tile, length) for a, b in spans)
    assert all(first[1] - second[0] >= overlap for first, second in pairwise(spans))
    total = np.zeros(length)
    for i, (start, stop) in enumerate(spans):
        total[start:stop] += tile_weights(spans, i)
    assert np.allclose(total, 1)


@pytest.mark.parametrize("feather", [1, 3, 10, 40, 1000])
def test_feathered_content_is_new_at_each_regions_own_depth(feather):
    mask = np.zeros((60, 80), bool)
    mask[10:40, 5:45] = True  # 30 x 40
    mask[50:52, 60:62] = True
    mask[20:60, 70:] = True  # at the image's border, which is no border of the region
    weights = feather_weights(mask, feather)
    assert (weights[~mask] == 0).all() and (weights[mask] > 0).all()
    assert weights[24:26, 19:31].min() == weights[50, 60] == weights[40:, -1].min() == 1
    assert feather == 1 or weights[10, 20] < 0.5
    assert (np.diff(weights[10:25, 20]) >= 0).all()
    assert (feather_weights(np.ones((9, 7), bool), feather) == 1).all()

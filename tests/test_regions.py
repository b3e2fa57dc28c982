import numpy as np
import pytest
from skimage import data
from textir_hf.XXX.regions import resolve_box

from textir_hf.imaging.faces import find_faces
from textir_hf.imaging.geometry import check_box
from textir_hf.imaging.masks import mask_crops


def crops_of(shape, *holes, size=32):
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in holes:
        mask[top:bottom, left:right] = True
    return mask, mask_crops(mask, size)


def test_a_crop_is_three_times_its_hole_and_in_the_picture():
    _, [(box, part)] = crops_of((300, 400), (100, 120, 200, 240))
    assert box == (160, 50, 280, 170) and part.shape == (120, 120) and part.sum() == 800
    for hole in ((0, 20, 0, 40), (280, 300, 360, 400), (0, 300, 0, 10), (0, 300, 0, 400)):
        mask, [((left, top, right, bottom), part)] = crops_of((300, 400), hole)
        assert 0 <= left < right <= 400 and 0 <= top < bottom <= 300 and part.sum() == mask.sum()


def test_small_holes_are_seen_at_the_trained_size_and_share_a_crop():
    mask, crops = crops_of((300, 400), (10, 12, 10, 12), (20, 22, 20, 22), (200, 203, 300, 302))
    assert [(b[2] - b[0], b[3] - b[1]) for b, _ in crops] == [(32, 32), (32, 32)]
    assert sorted(p.sum() for _, p in crops) == [6, 8]
    covered = np.zeros_like(mask, int)
    for (left, top, right, bottom), part in crops:
        covered[top:bottom, left:right] += part
    assert np.array_equal(covered, mask)


def test_diagonal_pixels_are_one_hole():
    mask = np.eye(64, dtype=bool)
    assert len(mask_crops(mask, 16)) == 1


def test_a_face_is_found_in_a_photo_and_none_in_a_cup():
    left, top, right, bottom = find_faces(data.astronaut())[0]
    assert left < 180 and right > 265 and top < 80 and bottom > 160 and abs((right - left) - (bottom - top)) <= 1
    assert (right - left) < 260
    with pytest.raises(ValueError, match="No upright frontal face"):
        resolve_box("face", data.coffee())
    assert find_faces(np.zeros((20, 20, 3), np.uint8)) == []


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("head", 'must be "face" or'),
        ((1, 2, 3), 'must be "face" or'),
        ((0, 0, 41, 10), "40x36 pixels, got"),
        ((5, 5, 5, 9), "must lie"),
    ],
)
def test_boxes_out_of_the_picture_are_refused(box, message):
    with pytest.raises(ValueError, match=message):
        check_box(box, (36, 40))

import numpy as np
import pytest

from training.clip import words


@pytest.mark.parametrize(
    ("color", "word"),
    [
        ((200, 20, 20), "red"),
        ((250, 140, 20), "orange"),
        ((240, 220, 40), "yellow"),
        ((30, 140, 40), "green"),
        ((30, 60, 200), "blue"),
        ((130, 40, 180), "purple"),
        ((250, 150, 180), "pink"),
        ((110, 70, 30), "brown"),
        ((245, 245, 245), "white"),
        ((10, 10, 10), "black"),
    ],
)
def test_plain_colors_have_their_word_and_no_other(color, word):
    shares = words.color_shares(np.full((4, 4, 3), color, np.uint8))
    assert dict(zip(words.COLORS, shares, strict=True)) == {c: float(c == word) for c in words.COLORS}


def test_labels_follow_the_quantiles():
    values, names = np.linspace(0, 1, 1001), words.WORDS["lfw"]
    labels = words.quantile_labels({column: values for column, *_ in names.values()})
    assert labels.shape == (1001, len(names))
    smiling = labels[:, list(names).index("smiling")]
    assert (smiling == 1).mean() == pytest.approx(0.45, abs=0.01)
    assert (smiling == -1).mean() == pytest.approx(0.40, abs=0.01)


def test_the_middle_of_an_image_gives_its_color():
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:80, 20:80] = (200, 20, 20)
    dress, rose = (dict(zip(words.COLORS, words.color_labels(image, kind), strict=True)) for kind in ("dress", "roses"))
    assert dress["red"] == 1 and dress["blue"] == -1
    assert rose["red"] == 1 and rose["black"] == 0

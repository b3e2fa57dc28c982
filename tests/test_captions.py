import random
import re

import numpy as np
import pytest

from training import captions


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
    shares = captions.color_shares(np.full((4, 4, 3), color, np.uint8))
    assert dict(zip(captions.COLORS, shares, strict=True)) == {c: float(c == word) for c in captions.COLORS}


def test_face_labels_follow_the_quantiles():
    values = np.linspace(0, 1, 1001)
    columns = {column: values for column, *_ in captions.FACE_ATTRIBUTES.values()}
    labels = captions.face_labels(columns)
    assert labels.shape == (1001, len(captions.FACE_ATTRIBUTES))
    smiling = labels[:, list(captions.FACE_ATTRIBUTES).index("smiling")]
    assert (smiling == 1).mean() == pytest.approx(0.45, abs=0.01) and (smiling == -1).mean() == pytest.approx(
        0.40, abs=0.01
    )


def test_face_sentences_state_only_what_is_true():
    rng = random.Random(0)
    for _ in range(300):
        labels = np.array([rng.choice((-1, 0, 1)) for _ in captions.FACE_ATTRIBUTES])
        sentence = captions.face_sentence(labels, rng)
        for label, (_, _, _, *sides) in zip(labels, captions.FACE_ATTRIBUTES.values(), strict=True):
            for side, wordings in zip((1, -1), sides, strict=True):
                if label != side:
                    stated = [w for w in wordings if re.search(rf"(?<!no )\b{w}\b", sentence)]
                    assert not stated, (sentence, stated)


def test_object_labels_and_sentences_name_the_color():
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:80, 20:80] = (200, 20, 20)
    dress, rose = (captions.object_labels(image, k) for k in ("dress", "roses"))
    label = captions.OBJECT_LABELS.index
    assert dress[label("red")] == 1 and dress[label("blue")] == -1 and dress[label("dress")] == 1
    assert rose[label("red")] == 1 and rose[label("black")] == 0 and rose[label("roses")] == 1
    rng = random.Random(0)
    for labels, nouns in ((dress, ("dress", "clothing")), (rose, ("rose", "flower"))):
        for _ in range(50):
            sentence = captions.object_sentence(labels, rng)
            assert any(noun in sentence for noun in nouns)
            assert [color for color in captions.COLORS if color in sentence.split()] == ["red"]

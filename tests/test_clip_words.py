import random

import numpy as np
import pytest

from training import clip_words as words

COLORS = {"red": (200, 20, 20), "orange": (250, 140, 20), "yellow": (240, 220, 40), "green": (30, 140, 40)}
COLORS |= {"blue": (30, 60, 200), "purple": (130, 40, 180), "pink": (250, 150, 180), "brown": (110, 70, 30)}
COLORS |= {"white": (245, 245, 245), "black": (10, 10, 10)}


@pytest.mark.parametrize(("word", "color"), COLORS.items())
def test_plain_colors_have_their_word_and_no_other(word, color):
    shares = words.color_shares(np.full((4, 4, 3), color, np.uint8))
    assert dict(zip(words.COLORS, shares, strict=True)) == {c: float(c == word) for c in words.COLORS}


def test_the_middle_of_an_image_gives_its_color():
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:80, 20:80] = (200, 20, 20)
    dress, rose = (dict(zip(words.COLORS, words.color_labels(image, kind), strict=True)) for kind in ("dress", "roses"))
    assert dress["red"] == 1 and dress["blue"] == -1
    assert rose["red"] == 1 and rose["black"] == 0


def test_the_sentences_of_a_pair_differ_in_its_attribute_alone():
    for pair in words.face_pairs(20):
        first, second = pair.facts
        assert first[pair.attribute] == 1 and second.get(pair.attribute, -1) == -1 and len(set(pair.texts)) == 2
        own = {pair.attribute, *words.RIVALS.get(pair.attribute, ())}
        assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
    for pair in words.object_pairs(20):
        first, second = pair.facts
        assert len(set(pair.texts)) == 2 and len(set(first.items()) - set(second.items())) == 1


def test_a_sentence_states_all_of_its_facts():
    rng = random.Random(0)
    for _ in range(50):
        text = words.face_sentence({"male": -1, "eyeglasses": -1, "smiling": 1}, rng)
        assert any(w in text for w in ("woman", "lady", "female")) and " man" not in text
        assert any(w in text for w in ("without", " no ", "not wearing", "bare eyes"))
        assert any(w in text for w in ("smil", "happy", "cheerful", "laughing", "grinning"))
        text = words.object_sentence({"blue": 1, "dress": 1}, rng)
        assert "blue" in text and ("dress" in text or "gown" in text)

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_image, write_test_set

from textir_hf.evaluation import measures as measuring
from textir_hf.evaluation import protocols
from textir_hf.evaluation.damages import damage_of
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.measures import PROTOTYPES, Measures
from textir_hf.evaluation.protocols import PRESETS, Contrast
from textir_hf.metrics.perceptual import LPIPS


@pytest.fixture
def measures(pipeline, test_sets, lpips_file):
    """Makes the measures of a tiny checkpoint on the tiny test sets."""

    def make(task: str, **changes) -> Measures:
        protocol = replace(PRESETS[f"textir-mini-{task}"], **changes)
        test_set = TestSet(protocol, str(test_sets), 64)
        masks = torch.zeros(1, 1, 64, 64)
        masks[..., 8:36, 8:40] = 1
        damage = damage_of(task)(protocol, test_set, masks)
        result = Measures(pipeline(task, sample_size=64), damage, LPIPS(lpips_file))
        result.prepare()
        return result

    return make


def test_the_regions_of_contrasts_are_where_they_say_and_known_pixels_stay(measures):
    made = measures("inpainting")
    glasses = next(c for c in made.protocol.contrasts if c.name.startswith("glasses"))
    mask = made.damage.contrast_extent(glasses)
    assert mask[25, 32] and not mask[50, 32] and 0.2 < mask.mean() < 0.3
    target, mask = made.test_set.image(0), made.damage.extent(0, "boxes")
    assert (made.damage.extent(0, "boxes") == mask).all() and mask.any()
    for name, output in made.restored(0, "boxes").items():
        assert (output[~mask] == target[~mask]).all(), name
    damaged = made.damage.damaged(target, mask)
    assert (damaged[mask] == 255).all() and (damaged[~mask] == target[~mask]).all()


def test_every_image_is_shuffled_to_another_and_gets_a_sentence_of_its_file(measures):
    made = measures("colorization")
    conditions = made.conditions
    assert len(conditions.sentences) == 9 and conditions.sentences[8] == ["a red flower", "a face"]
    assert all(j != i for i, j in enumerate(conditions.shuffled))
    assert all(s[0] in made.protocol.candidates[protocols.FLOWERS] for s in conditions.sentences[:3])
    right, shuffled, empty, image = conditions.of(8)
    assert right == ["a red flower", "a face"] and shuffled == conditions.sentences[conditions.shuffled[8]]
    torch.testing.assert_close(empty, conditions.of(0)[2])
    torch.testing.assert_close(image, made.embed(made.test_set.image(8)))


def test_the_shift_turns_with_the_conditions(measures):
    made = measures("super-resolution", contrasts=(Contrast("hue", ("a red face", "a blue face")),))
    there = {column: value for _, _, column, value in measuring.text_effect(made, 0)}
    made.protocol = replace(made.protocol, contrasts=(Contrast("hue", ("a blue face", "a red face")),))
    back = {column: value for _, _, column, value in measuring.text_effect(made, 0)}
    assert there["shift (100 cosine)"] == pytest.approx(-back["shift (100 cosine)"], abs=1e-4)
    column = "nearer than the contrary's result (%)"
    assert there[column] + back[column] == 100


def test_named_colors_are_found_in_the_middle_and_not_on_the_border(measures, monkeypatch):
    def paint(image, conditions, extent):
        """In place of the network: gray, and for each word an image with its color in the middle."""
        results = np.full((len(conditions), 64, 64, 3), 119, np.uint8)
        for result, rgb in zip(results[1:], PROTOTYPES.values(), strict=True):
            result[8:-8, 8:-8] = rgb
        return list(results)

    made = measures("colorization")
    monkeypatch.setattr(made, "restore", paint)
    values = {(row, column): value for _, row, column, value in measuring.color_words(made, 0)}
    for word in PROTOTYPES:
        assert values[word, "hue distance (°)"] == pytest.approx(0, abs=0.5)
        assert values[word, "shift of the middle"] > 20 and abs(values[word, "shift of the border"]) < 0.5
    assert measuring.color_words(made, 6) == []  # scenes have no named object


def test_sets_without_test_images_or_captions_are_refused(test_sets, tmp_path):
    write_test_set(tmp_path / protocols.FACES, [make_image()])
    with pytest.raises(ValueError, match=r'faces_synthetic_256.parquet .* "test"'):
        TestSet(PRESETS["textir-mini-super-resolution"], str(tmp_path), 16)
    write_test_set(tmp_path / "bare.parquet", [make_image()] * 2, [[" "]] * 2)
    with pytest.raises(ValueError, match=r"bare.parquet has no caption"):
        TestSet(PRESETS["table-3"], str(tmp_path / "bare.parquet"), 16)

"""A refiner adds detail to what inpainting filled, and changes nothing else."""

import numpy as np
import pytest
import torch
from conftest import make_image, noisy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_faces import PORTRAIT, group, mouths, portrait

from textir_hf import TextIRPipeline, open_image
from textir_hf.cli.main import main
from textir_hf.imaging.faces import frame_places
from textir_hf.imaging.masks import feather_weights
from textir_hf.imaging.resample import downsample, to_tensor
from textir_hf.metrics.functional import detail, seam
from textir_hf.pipeline.faces import frames_of

quick = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SIDE = 120  # of images; the tiny networks were trained at 32 pixels


def box_mask(left: int, top: int, width: int, height: int, size=(SIDE, SIDE)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (left, top, left + width, top + height))
    return mask


@quick
@given(st.integers(0, 60), st.integers(0, 60), st.integers(28, 60), st.booleans())
def test_a_refiner_changes_fills_alone_and_the_same_way_each_time(noisy_pipe, left, top, side, regions):
    pipe, refiner = noisy_pipe("inpainting"), noisy_pipe("super-resolution")
    image, mask = make_image(SIDE, SIDE), box_mask(left, top, side, side)
    options = {
        "mask_image": mask,
        "regions": [(box_mask(left, top, side, 14), "a red flower")] if regions else None,
    }
    plain, refined = (
        np.asarray(pipe("a face", image, refiner=r, **options).images[0]).astype(float) for r in (None, refiner)
    )
    outside = np.asarray(mask) == 0
    assert np.array_equal(refined[outside], np.asarray(image)[outside])
    assert (refined != plain)[~outside].mean() > 0.3
    again = pipe("a face", image, refiner=refiner, **options).images[0]
    assert np.array_equal(refined, np.asarray(again))


@pytest.mark.parametrize("side", [12, 15])
@pytest.mark.parametrize("beside", [False, True])
def test_a_fill_that_was_made_at_its_own_size_stays_as_it_is(noisy_pipe, side, beside):
    pipe, image, mask = noisy_pipe("inpainting"), make_image(3 * SIDE, SIDE), box_mask(170, 50, side, side, (360, 120))
    if beside:  # a large fill, whose crop reaches into the small one
        mask.paste(255, (20, 30, 80, 90))
    plain, refined = (
        np.asarray(pipe("a face", image, mask_image=mask, refiner=r).images[0])
        for r in (None, noisy_pipe("super-resolution"))
    )
    assert np.array_equal(plain[:, 170:], refined[:, 170:]) and (plain != refined).any() == beside


REGION = [(box_mask(0, 0, 60, SIDE), "a red flower")]
WAYS = [(regions, refined) for regions in (None, REGION) for refined in (False, True)]


@pytest.mark.parametrize(("regions", "refined"), WAYS)
def test_regions_and_a_refiner_keep_what_every_fill_promises(noisy_pipe, regions, refined):
    """Hidden colors decide nothing, the image itself is the reference, and feathering is the last step."""
    pipe, mask = noisy_pipe("inpainting"), box_mask(20, 20, 80, 70)
    image, where = make_image(SIDE, SIDE), np.asarray(mask) > 0
    options = {"mask_image": mask, "regions": regions, "refiner": noisy_pipe("super-resolution") if refined else None}

    def fill(image, **more):
        return np.asarray(pipe("a face", image, **options, **more).images[0])

    hidden = []
    for color in ((255, 0, 0, 0), (0, 255, 0, 0)):
        transparent = image.convert("RGBA")
        transparent.paste(color, (55, 10, 62, 80))
        hidden.append(fill(transparent)[where])
    assert np.array_equal(*hidden)
    assert np.array_equal(fill(image, beta=0.5), fill(image, beta=0.5, reference_image=image))
    weights, old = feather_weights(where, 9)[..., None], np.asarray(image)
    mixed = (weights * fill(image) + (1 - weights) * old).round().astype(np.uint8)
    assert np.array_equal(fill(image, feather=9), mixed)


@pytest.mark.parametrize("beta", [1, 0.3])
def test_a_face_is_refined_under_the_condition_that_filled_it(noisy_pipe, pipeline, beta):
    """Neither other prompts nor another face's place in the photo decide what is in a face's frame."""
    pipe, refiner = (pipeline(task, face_template=PORTRAIT) for task in ("inpainting", "super-resolution"))
    photo, faces = group()
    middle, frames = np.zeros(photo.size[::-1], bool), frames_of(np.asarray(photo), "all", PORTRAIT)
    for frame in frames:
        (left, top, right, bottom), _, weights = frame_places(frame, middle.shape, frames)
        middle[top:bottom, left:right] |= weights.numpy() == 1
    mask = Image.fromarray((np.asarray(mouths(faces, photo.size)) > 127) & middle)
    options = {"image": photo, "mask_image": mask, "faces": "all", "beta": beta}
    options |= {"face_prompts": ["a face", "a flower"], "refiner": refiner}
    results = [np.asarray(pipe(prompt_embeds=pipe.encode_prompt(p), **options).images[0]) for p in ("a face", "old")]
    assert np.array_equal(*results)
    options |= {"regions": [(Image.new("L", photo.size, 255), "a red flower")]}  # it decides for all of the image
    first, second = (
        np.asarray(pipe("a face", **options | {"face_prompts": prompts}).images[0])
        for prompts in (["a face", "a flower"], ["a person", "a smiling face"])
    )
    assert np.array_equal(first, second)


def test_each_face_is_refined_under_its_own_prompt(pipeline):
    pipe = pipeline("inpainting", face_template=PORTRAIT)
    refiner = pipeline("super-resolution", face_template=PORTRAIT)
    photo, faces = group()
    assert len(faces) == 2
    mask, results = mouths(faces, photo.size), []
    for second in ("a flower", "a red flower"):
        options = {"mask_image": mask, "faces": "all", "face_prompts": ["a face", second], "refiner": refiner}
        results.append(np.asarray(pipe("a person", photo, **options).images[0]))
    changed = (results[0] != results[1]).any((0, 2))
    middle = (faces[0].box[2] + faces[1].box[0]) // 2
    assert not changed[:middle].any() and changed[middle:].any()


def test_the_embedded_refiner_makes_a_portrait_s_fill_sharp_without_a_seam(tmp_path):
    pipe, refiner = (TextIRPipeline.from_pretrained(f"textir-mini-{n}") for n in ("inpainting", "super-resolution"))
    image, mask = portrait().crop((70, 10, 230, 170)).resize((256, 256)), box_mask(60, 70, 140, 80, (256, 256))
    target, where = np.asarray(image), np.asarray(mask) > 0
    plain, refined = (np.asarray(pipe("a woman", image, mask_image=mask, refiner=r).images[0]) for r in (None, refiner))
    image.save(tmp_path / "image.png")
    mask.save(tmp_path / "mask.png")
    for flags, expected in ([], refined), (["--refiner", "none"], plain):
        files = ["--mask-image", f"{tmp_path}/mask.png", "-o", f"{tmp_path}/result.png"]
        assert main(["inpaint", f"{tmp_path}/image.png", *files, "--prompt", "a woman", *flags]) == 0
        assert np.array_equal(np.asarray(open_image(tmp_path / "result.png")), expected)
    assert detail(refined, target, where) > 2 * detail(plain, target, where)
    assert seam(refined, target, where) < 1.15
    small = [downsample(to_tensor(result), 8) for result in (plain, refined)]
    assert (small[0] - small[1]).abs().mean() < 0.01


def test_a_refiner_must_be_for_super_resolution_and_refines_inpainting_alone(noisy_pipe, pipeline):
    image = make_image()
    with pytest.raises(ValueError, match="refiner must be a pipeline for super-resolution"):
        noisy_pipe("inpainting")("a", image, mask_image=Image.new("L", image.size, 255), refiner="upscaler")
    with pytest.raises(ValueError, match="refiner cannot be used"):
        noisy_pipe("colorization")("a", image, refiner=noisy_pipe("super-resolution"))
    large = pipeline("inpainting", sample_size=64)
    with pytest.raises(ValueError, match="refiner must be trained at 64 pixels or more"):
        large("a", image, mask_image=Image.new("L", image.size, 255), refiner=noisy_pipe("super-resolution"))


def test_a_refiner_takes_an_embedding_as_it_takes_the_sentence(pipeline):
    """Each checkpoint moves embeddings to a place of its own."""
    pipe, refiner = (noisy(pipeline(task)) for task in ("inpainting", "super-resolution"))
    for recentering in (pipe.recentering, refiner.recentering):
        for mean in recentering.parameters():
            mean.data = torch.randn(32) * 0.1
    image, options = make_image(SIDE, SIDE), {"mask_image": box_mask(20, 20, 70, 70), "refiner": refiner}
    said = pipe("a red flower", image, **options).images[0]
    embedded = pipe(prompt_embeds=pipe.encode_prompt("a red flower"), image=image, **options).images[0]
    assert np.abs(np.asarray(said).astype(int) - np.asarray(embedded)).max() <= 1

"""The pipeline's results: what stays bit for bit, batches, seeds, formats, saving and loading."""

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, tiny_generator
from PIL import Image

from textir_hf import MiniCLIPModel, TextIRGenerator, TextIRPipeline
from textir_hf.imaging.color import lightness
from textir_hf.imaging.raster import to_raster
from textir_hf.imaging.resample import to_tensor
from textir_hf.models.embedding import embed_images
from textir_hf.tasks import embedded_checkpoints

TASKS = {"inpainting": {"mask_image": make_mask()}, "super-resolution": {"scale": 3}, "colorization": {}}


@pytest.mark.parametrize(("width", "height"), [(40, 36), (32, 32), (33, 47), (90, 70)])
def test_pixels_outside_the_mask_come_back_bit_for_bit(pipeline, width, height):
    image, mask = make_image(width, height), make_mask(width, height)
    result = pipeline("inpainting")("a face", image, mask).images[0]
    outside = np.asarray(mask) < 128
    assert np.array_equal(np.asarray(result)[outside], np.asarray(image)[outside])
    assert (np.asarray(result)[~outside] != np.asarray(image)[~outside]).any()


@pytest.mark.parametrize(("width", "height"), [(40, 36), (90, 70)])
def test_old_content_of_the_masked_region_never_shows(pipeline, width, height):
    mask = make_mask(width, height)
    other = make_image(width, height)
    other.paste((255, 0, 255), None, mask)
    pipe = pipeline("inpainting")
    first, second = (np.asarray(pipe("a face", i, mask).images[0]) for i in (make_image(width, height), other))
    inside = np.asarray(mask) > 127
    assert np.array_equal(first[inside], second[inside])


@pytest.mark.parametrize("scale", [2, 3, 2.5])
def test_super_resolution_gives_the_asked_size(pipeline, scale):
    result = pipeline("super-resolution")("a face", make_image(13, 9), scale=scale).images[0]
    assert result.size == (round(13 * scale), round(9 * scale))


@pytest.mark.parametrize(("width", "height"), [(40, 36), (90, 70)])
def test_colorization_keeps_the_lightness(pipeline, width, height):
    image = make_image(width, height)
    pipe = pipeline("colorization", output_scale=2.0)
    result = pipe("a red flower", image).images[0]
    wanted, got = (lightness(to_tensor(to_raster(i).rgb)) for i in (image, result))
    assert (wanted - got).abs().max() < 100 * 1.5 / 255  # 8 bits, and colors stay within the gamut
    gray = np.asarray(pipe("a red flower", image.convert("RGB")).images[0])
    assert (gray.max(-1) != gray.min(-1)).any()


@pytest.mark.parametrize("task", TASKS)
def test_batches_equal_singles_and_seeds_repeat(pipeline, task):
    pipe = pipeline(task)
    for module in pipe.restorer.modules():
        if hasattr(module, "noise_strength"):
            torch.nn.init.constant_(module.noise_strength, 0.5)
    images, prompts = [make_image(seed=s) for s in range(2)], ["a red flower", "a smiling face"]

    def call(prompt, image, generator=None):
        return pipe(prompt, image, generator=generator, output_type="np", **TASKS[task]).images

    seeded = [call(p, i, torch.Generator().manual_seed(5))[0] for p, i in zip(prompts, images, strict=True)]
    assert np.array_equal(call(prompts, images, torch.Generator().manual_seed(5)), seeded)
    assert np.array_equal(call(prompts, images, [torch.Generator().manual_seed(5) for _ in range(2)]), seeded)
    assert np.array_equal(call(prompts[0], images)[1], call(prompts[0], images[1])[0])
    assert np.array_equal(call(prompts, images), call(prompts, images, torch.Generator().manual_seed(0)))
    assert not np.array_equal(call(prompts, images), seeded)
    assert not np.array_equal(call(prompts, images, torch.Generator().manual_seed(6)), seeded)


@pytest.mark.parametrize("task", TASKS)
def test_one_image_goes_with_several_prompts(pipeline, task):
    pipe = pipeline(task)
    results = pipe(["a red flower", "a smiling old person"], make_image(), output_type="np", **TASKS[task]).images
    assert len(results) == 2 and not np.array_equal(*results)
    assert np.array_equal(
        results[1], pipe("a smiling old person", make_image(), output_type="np", **TASKS[task]).images[0]
    )


def test_image_kinds_and_return_types_agree(pipeline):
    pipe = pipeline("super-resolution")
    array = np.asarray(make_image())
    tensor = torch.from_numpy(array.copy()).movedim(-1, 0)[None].float() / 255
    results = [pipe("a face", i, scale=2, output_type="np").images for i in (make_image(), array[None], tensor)]
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    (images,) = pipe("a face", make_image(), scale=2, return_dict=False)
    assert np.array_equal(np.asarray(images[0]) / np.float32(255), results[0][0])
    assert torch.equal(
        pipe("a face", make_image(), scale=2, output_type="pt").images[0].movedim(0, -1),
        torch.from_numpy(results[0][0]),
    )


@pytest.mark.parametrize("beta", [1.5, 0.5, 0, -1])
def test_beta_mixes_text_and_reference(pipeline, beta):
    pipe, other = pipeline("super-resolution"), make_image(seed=7)
    asked = {"image": make_image(), "scale": 2, "output_type": "np"}
    text = pipe.encode_prompt("a red flower")
    for reference in (None, other):
        shown = make_image() if reference is None else reference
        image = embed_images(pipe.clip, pipe.image_processor, to_tensor(np.asarray(shown))).detach()
        mixed = torch.nn.functional.normalize(beta * text + (1 - beta) * image, dim=1)
        result = pipe("a red flower" if beta else None, reference_image=reference, beta=beta, **asked).images
        assert np.array_equal(result, pipe(prompt_embeds=mixed, **asked).images)


@pytest.mark.parametrize("task", TASKS)
def test_save_and_load_give_the_same_image(pipeline, task, tmp_path):
    pipe = pipeline(task)
    pipe.save_pretrained(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    loaded = TextIRPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.restorer, TextIRGenerator)
    first, second = (p("a red flower", make_image(), **TASKS[task], output_type="np").images for p in (pipe, loaded))
    assert np.array_equal(first, second)


def test_weights_at_odd_addresses_are_moved(encoder):
    clip = MiniCLIPModel(encoder[0].config)
    for parameter in clip.parameters():
        memory = torch.empty(parameter.numel() + 16)
        start = (-memory.data_ptr() // 4) % 16 + 1  # one float past a multiple of 64 bytes
        parameter.data = memory[start : start + parameter.numel()].view(parameter.shape).copy_(parameter.data)
    before = [p.clone() for p in clip.parameters()]
    TextIRPipeline(tiny_generator(), clip, *encoder[1:])
    assert all(p.data_ptr() % 64 == 0 for p in clip.parameters())
    assert all(torch.equal(p, b) for p, b in zip(clip.parameters(), before, strict=True))


def test_openai_clip_takes_the_embedded_encoders_place(pipeline, openai_encoder, tmp_path):
    pipe = pipeline("inpainting", openai_encoder)
    pipe.save_pretrained(tmp_path)
    loaded = TextIRPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.recentering is None and type(loaded.clip).__name__ == "CLIPModel"
    results = [p("a red face", make_image(), make_mask(), output_type="np").images for p in (pipe, loaded)]
    assert np.array_equal(*results)
    assert not np.array_equal(results[0], pipe("a blue flower", make_image(), make_mask(), output_type="np").images)


def test_half_precision_is_close(pipeline):
    pipe = pipeline("super-resolution")
    full = pipe("a face", make_image(), scale=2, output_type="np").images
    half = pipe.to(torch.bfloat16)("a face", make_image(), scale=2, output_type="np").images
    assert np.abs(full - half).mean() < 0.02


@pytest.mark.parametrize("name", embedded_checkpoints())
def test_embedded_checkpoints_restore(name):
    pipe = TextIRPipeline.from_pretrained(name)
    pipe.set_progress_bar_config(disable=True)
    task = name.removeprefix("textir-mini-")
    assert pipe.restorer.config.task == task and pipe.restorer.dtype == pipe.clip.dtype == torch.float32
    arguments = TASKS[task] | ({"mask_image": make_mask(64, 64)} if task == "inpainting" else {})
    first, second = pipe(["a young woman", "an old man"], make_image(64, 64), **arguments, output_type="np").images
    assert np.abs(first - second).max() > 2 / 255


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("inpainting", {"image": None}, "image must be given"),
        ("inpainting", {"mask_image": None}, "mask_image must be given"),
        ("colorization", {"mask_image": make_mask()}, "mask_image cannot be used"),
        ("inpainting", {"mask_image": make_mask(10, 10)}, "mask_image must have the image's size 40x36, got 10x10"),
        ("super-resolution", {"scale": None}, "scale must be given"),
        ("colorization", {"scale": 2}, "scale cannot be used"),
        ("super-resolution", {"scale": 1}, r"scale must lie in 2..64, got 1"),
        ("super-resolution", {"scale": 65}, r"scale must lie in 2..64, got 65"),
        ("colorization", {"prompt": " "}, "prompt must not be empty"),
        ("colorization", {"prompt": None}, "prompt must not be empty"),
        ("colorization", {"prompt": ["a face", ""]}, "prompt must not be empty"),
        ("colorization", {"output_type": "jpg"}, 'output_type must be "pil"'),
        ("colorization", {"prompt": ["a"] * 3, "image": [make_image()] * 2}, "image must be one or a list of 3, got 2"),
        ("colorization", {"generator": [torch.Generator()] * 2}, "generator must be one or a list of 1"),
    ],
)
def test_bad_arguments_are_refused(pipeline, task, change, message):
    arguments = {"prompt": "a face", "image": make_image()} | TASKS[task] | change
    with pytest.raises(ValueError, match=message):
        pipeline(task)(**arguments)


def test_unknown_checkpoint_is_refused():
    with pytest.raises(ValueError, match="textir-mini-inpainting"):
        TextIRPipeline.from_pretrained("textir-mini-sharpening")


def test_alpha_and_settings_go_with_the_result(pipeline):
    image = make_image().convert("RGBA")
    image.putalpha(Image.fromarray(np.arange(36 * 40, dtype=np.uint8).reshape(36, 40)))
    for task in TASKS:
        source = torch.Generator().manual_seed(7)
        result = pipeline(task)("a face", image, beta=0.5, generator=source, **TASKS[task]).images[0]
        assert result.mode == "RGBA"
        alpha = np.array(image)[..., 3]
        if task == "inpainting":
            alpha[np.asarray(make_mask()) > 0] = 255
        assert task == "super-resolution" or np.array_equal(np.asarray(result)[..., 3], alpha)
        settings = result.info["textir"]
        assert pipeline(task)("a face", image, **TASKS[task]).images[0].info["textir"]["seed"] == 0
        assert settings["prompt"] == "a face" and settings["seed"] == 7 and settings["task"] == task
        assert settings["beta"] == 0.5 and settings.get("scale") == TASKS[task].get("scale")


def test_the_color_that_transparent_pixels_hide_changes_nothing(pipeline):
    alpha = Image.new("L", (40, 36), 255)
    alpha.paste(0, (12, 10, 30, 22))
    for task in TASKS:
        pipe, results = pipeline(task), []
        for color in ("white", "black"):
            image = make_image()
            image.paste(color, (12, 10, 30, 22))
            image.putalpha(alpha)
            results.append(np.asarray(pipe("a face", image, **TASKS[task]).images[0]))
        seen = results[0][..., 3] > 0
        assert np.array_equal(results[0][seen], results[1][seen]), task


def test_progress_counts_the_networks_runs(pipeline, capsys):
    pipe = pipeline("super-resolution")
    pipe.set_progress_bar_config(delay=0)
    pipe("a face", make_image(40, 40), scale=4, tile=64)
    assert "9/9" in capsys.readouterr().err

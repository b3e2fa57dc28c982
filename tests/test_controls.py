"""What steers a call besides image and mask: sentences, skip_strength, noise, boxes; and edits."""

import numpy as np
import torch
from conftest import make_image, make_mask


def test_several_sentences_and_templates_are_averaged(pipeline):
    pipe = pipeline("super-resolution")
    parts = pipe.encode_prompt(["a red flower", "a blue face"])
    assert parts.shape == (2, 32) and torch.allclose(parts.norm(dim=1), torch.ones(2))
    both = pipe.encode_prompt([["a red flower", "a blue face"]])
    torch.testing.assert_close(both, torch.nn.functional.normalize(parts.sum(0, keepdim=True), dim=1))
    templates = ["a {}", "red {}"]
    torch.testing.assert_close(pipe.encode_prompt("face", templates), pipe.encode_prompt([["a face", "red face"]]))

    def call(prompt=None, **kwargs):
        return pipe(prompt, make_image(), scale=2, output_type="np", **kwargs).images[0]

    assert np.array_equal(call("face", templates="red {}"), call("red face"))
    for several in (["a red flower", "a blue face"], ("a red flower", "a blue face")):
        assert np.array_equal(call([several]), call(prompt_embeds=both))
    assert np.array_equal(call("face", templates=templates), call(prompt_embeds=pipe.encode_prompt("face", templates)))
    two = pipe(image=[make_image()] * 2, prompt_embeds=parts, scale=2, output_type="np").images
    assert np.array_equal(two[1], call("a blue face"))


def test_editing_degrades_and_restores_and_keeps_what_lies_outside(pipeline):
    image, region = make_image(), make_mask()
    outside = np.asarray(region) < 128
    options = {"inpainting": {}, "super-resolution": {"factor": 4}, "colorization": {"colors": True}}
    for task, option in options.items():
        pipe = pipeline(task)
        result = np.asarray(pipe.edit("a red flower", image, mask_image=region, **option).images[0])
        assert np.array_equal(result[outside], np.asarray(image)[outside])
        assert (result[~outside] != np.asarray(image)[~outside]).any()
        if task != "inpainting":
            whole = np.asarray(pipe.edit("a red flower", image, **option).images[0])
            assert whole.shape == result.shape and np.array_equal(whole[~outside], result[~outside])
    pipe, large = pipeline("super-resolution"), make_image(120, 100)
    boxed = np.asarray(pipe.edit("a face", large, factor=4, box=(20, 12, 60, 52)).images[0])
    changed = (boxed != np.asarray(large)).any(-1)
    assert changed[12:52, 20:60].mean() > 0.9 and changed.sum() == changed[12:52, 20:60].sum()

"""Offloading: weights that are elsewhere between calls, seen from a machine with one device.

What a second device would show is whether weights are used while they are away: without values (accelerate's hooks
leave them on "meta"), or freed after being written to disk (group offloading).
"""

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from conftest import make_image, make_mask, noisy
from diffusers.hooks import apply_group_offloading

CPU = torch.device("cpu")


def offload(pipe, kind, folder):
    """Offloads every network of a pipeline, as the pipeline's own methods do where there is an accelerator."""
    for name, network in pipe.components.items():
        if not isinstance(network, torch.nn.Module):
            continue
        if kind == "sequential":
            cpu_offload(network, CPU, offload_buffers=len(network._parameters) > 0)
            assert next(network.parameters()).device.type == "meta"
        else:
            where = {"offload_type": kind, "num_blocks_per_group": 1, "offload_to_disk_path": str(folder / name)}
            apply_group_offloading(network, CPU, **where)
    return pipe


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("sequential", "encoder"), ("block_level", "encoder"), ("sequential", "openai_encoder")],
)
def test_offloaded_pipelines_give_the_same_images(pipeline, parts, kind, request, tmp_path):
    pipe = noisy(pipeline("inpainting", request.getfixturevalue(parts)))

    def call(beta):
        images, prompts = [make_image(seed=s) for s in range(2)], ["a red flower", "a smiling face"]
        generator = torch.Generator().manual_seed(5)
        return pipe(prompts, images, make_mask(), beta=beta, generator=generator, output_type="np").images

    if pipe.recentering is not None:
        torch.nn.init.normal_(pipe.recentering.image_mean)
    expected, embeddings = call(0.5), pipe.encode_prompt(["a face", "a red flower"])
    offload(pipe, kind, tmp_path)
    exact = kind == "sequential"  # weights read from a file lie elsewhere in memory: sums round otherwise
    tolerance = {"rtol": 0, "atol": 0 if exact else 1e-5}
    torch.testing.assert_close(pipe.encode_prompt(["a face", "a red flower"]), embeddings, **tolerance)
    np.testing.assert_allclose(call(0.5), expected, rtol=0, atol=0 if exact else 1.01 / 255)

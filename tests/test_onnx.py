import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import onnxruntime
import pytest
import torch
from conftest import tiny_generator

from textir_hf import TextIRPipeline, TextRecentering
from textir_hf.cli.main import main
from textir_hf.hub.export import export_onnx
from textir_hf.models.embedding import clip_pixel_values, embed_images

WITHOUT_PYTORCH = """
import sys
sys.modules |= dict.fromkeys(["torch", "transformers", "diffusers", "textir_hf"])
exec(sys.argv[1])
"""


@pytest.fixture(scope="module")
def exported(encoder, tmp_path_factory):
    """A pipeline, and the folder that the command exported it to."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("onnx")
    recentering = TextRecentering(32, scale=1.5)
    torch.nn.init.normal_(recentering.image_mean, std=0.1)
    restorer = tiny_generator("super-resolution", channels=(4, 6))
    restorer.levels[0].conv.noise_strength.data.fill_(0.5)
    pipe = TextIRPipeline(restorer, *encoder, recentering, prompt_templates=["a {}", "red {}"])
    pipe.save_pretrained(folder / "checkpoint")
    with redirect_stdout(io.StringIO()) as out:
        assert main(["export", str(folder / "checkpoint"), "-o", str(folder / "exported")]) == 0
    files = [Path(line) for line in out.getvalue().splitlines()]
    names = ["image_encoder.onnx", "prompt_encoder.onnx", "restorer.onnx", "settings.json", "tokenizer.json"]
    assert sorted(path.name for path in files) == ["README.md", *names]
    assert all(path.is_file() for path in files)
    return TextIRPipeline.from_pretrained(folder / "checkpoint"), folder / "exported"


def run(folder, name, **inputs):
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    return torch.from_numpy(session.run(None, {key: value.numpy() for key, value in inputs.items()})[0])


def prompt_embedding(pipe, folder, prompt):
    sentences = [template.replace("{}", prompt) for template in pipe.config.prompt_templates or ["{}"]]
    tokens = pipe.tokenizer(sentences, padding=True, return_tensors="pt")
    return run(folder, "prompt_encoder", **{name: tokens[name] for name in ("input_ids", "attention_mask")})


@torch.no_grad()
def test_onnx_gives_the_pipelines_embeddings_and_images(exported):
    pipe, folder = exported
    for prompt in ("face", "smiling old person face"):
        embedding = prompt_embedding(pipe, folder, prompt)
        torch.testing.assert_close(embedding, pipe.encode_prompt(prompt), atol=1e-4, rtol=0)
    images = torch.rand(2, 3, 40, 50)
    pixel_values = clip_pixel_values(images, pipe.image_processor)
    embeddings = run(folder, "image_encoder", pixel_values=pixel_values)
    torch.testing.assert_close(embeddings, embed_images(pipe.clip, pipe.image_processor, images), atol=1e-4, rtol=0)
    inputs = {"degraded": torch.rand(3, 3, 6, 10), "clip_embedding": embedding.expand(3, -1)}
    inputs["skip_strength"] = torch.tensor([0.1, 0.5, 0.9])
    sizes = pipe.restorer.noise_sizes(6, 10)
    noise = torch.randn(3, len(sizes), 6, 10)
    maps = [noise[:, i : i + 1, :: 6 // height, :: 10 // width] for i, (height, width) in enumerate(sizes)]
    sample = pipe.restorer(**inputs, noise=maps).sample
    assert not torch.equal(sample, pipe.restorer(**inputs).sample)
    torch.testing.assert_close(
        run(folder, "restorer", **inputs, noise=noise), sample, atol=1e-4 * sample.abs().max().item(), rtol=0
    )


def test_the_guide_runs_without_pytorch(exported):
    pipe, folder = exported
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH, code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{(1, pipe.restorer.config.out_channels, 32, 32)}\n"


def test_an_output_that_exists_and_missing_packages_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="exists already"):
        export_onnx("textir-mini-inpainting", tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"ONNX needs further packages .*textir-hf\[onnx\]"):
        export_onnx("textir-mini-inpainting", tmp_path / "new")

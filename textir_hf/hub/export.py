"""Checkpoints as ONNX, which runs without PyTorch."""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from textir_hf.atomic import check_new_folder, replacing
from textir_hf.models.generator import TextIRGenerator
from textir_hf.pipeline.pipeline import TextIRPipeline

_TOLERANCE = 1e-4  # of the largest value
_GUIDE = Path(__file__).parent / "onnx.md"


class PromptEncoder(nn.Module):
    """`TextIRPipeline.encode_prompt` for the tokenized sentences of one prompt."""

    def __init__(self, clip: PreTrainedModel, recentering: nn.Module | None) -> None:
        super().__init__()
        self.clip, self.recentering = clip, recentering

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # 2 x [S, T] -> [1, D] at unit length
        output = self.clip.get_text_features(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        embeddings = F.normalize(output.pooler_output, dim=-1)
        embedding = F.normalize(embeddings.mean(0, keepdim=True), dim=-1)
        return embedding if self.recentering is None else self.recentering(embedding)


class ImageEncoder(nn.Module):
    """`embed_images` for processed images."""

    def __init__(self, clip: PreTrainedModel) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixel_values: Tensor) -> Tensor:  # [N, 3, S, S] -> [N, D] at unit length
        return F.normalize(self.clip.get_image_features(pixel_values=pixel_values, return_dict=True).pooler_output)


class Restorer(nn.Module):
    """`TextIRGenerator` whose noise is one input of full size, of which each map takes every n-th value."""

    def __init__(self, restorer: TextIRGenerator) -> None:
        super().__init__()
        self.restorer = restorer
        self.steps = [restorer.stride // height for height, _ in restorer.noise_sizes(restorer.stride, restorer.stride)]

    def forward(self, degraded: Tensor, clip_embedding: Tensor, noise: Tensor, skip_strength: Tensor | None = None):
        maps = [noise[:, i : i + 1, ::step, ::step] for i, step in enumerate(self.steps)]
        return self.restorer(degraded, clip_embedding, skip_strength, noise=maps, return_dict=False)[0]


def export_onnx(checkpoint: str | Path, folder: str | Path) -> list[Path]:
    """Writes a checkpoint's networks as ONNX, its tokenizer, and a guide, and compares their results with PyTorch's.

    The guide, README.md, says what goes into `prompt_encoder.onnx`, `image_encoder.onnx` and `restorer.onnx`.
    The folder must not exist or be empty. Returns the files.

    Raises:
        ValueError: The checkpoint cannot be loaded, the folder is not empty, packages are missing, or ONNX Runtime
            gives other results.
    """
    folder = Path(folder)
    check_new_folder(folder)
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f'ONNX needs further packages ({error}). Run pip install "textir-hf[onnx]".') from error
    pipe = TextIRPipeline.from_pretrained(checkpoint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        temporary.mkdir()
        _export_prompt_encoder(pipe, temporary / "prompt_encoder.onnx")
        side = pipe.image_processor.crop_size["height"]
        examples = [{"pixel_values": torch.randn(count, 3, side, side)} for count in (2, 1, 3)]
        shapes = {"pixel_values": {0: "images"}}
        _export(ImageEncoder(pipe.clip), examples, shapes, "clip_embedding", temporary / "image_encoder.onnx")
        _export_restorer(pipe.restorer, temporary / "restorer.onnx")
        pipe.tokenizer.backend_tokenizer.save(str(temporary / "tokenizer.json"))
        settings = _settings(pipe)
        (temporary / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_GUIDE.read_text(encoding="utf-8").format(**settings), encoding="utf-8")
    return sorted(folder.iterdir())


def _export_prompt_encoder(pipe: TextIRPipeline, path: Path) -> None:
    limit, words = pipe.tokenizer.model_max_length, pipe.clip.config.text_config.vocab_size

    def inputs(sentences: int, tokens: int) -> dict[str, Tensor]:
        mask = torch.ones(sentences, tokens, dtype=torch.long)
        mask[0, tokens - 1 :] = 0
        return {"input_ids": torch.randint(words, mask.shape), "attention_mask": mask}

    shapes = {name: {0: "sentences", 1: "tokens"} for name in ("input_ids", "attention_mask")}
    examples = [inputs(2, min(7, limit)), inputs(1, 2), inputs(3, limit)]
    _export(PromptEncoder(pipe.clip, pipe.recentering), examples, shapes, "clip_embedding", path)


def _export_restorer(restorer: TextIRGenerator, path: Path) -> None:
    config, stride, module = restorer.config, restorer.stride, Restorer(restorer)

    def inputs(count: int, height: int, width: int) -> dict[str, Tensor]:
        degraded = torch.rand(count, config.in_channels, height * stride, width * stride) / config.input_scale
        values = {"degraded": degraded, "clip_embedding": F.normalize(torch.randn(count, config.embedding_dim))}
        values["noise"] = torch.randn(count, len(module.steps), *degraded.shape[-2:])
        return values | ({"skip_strength": torch.rand(count)} if config.skip_strength_source == "input" else {})

    examples = [inputs(2, 2, 3), inputs(1, 4, 2), inputs(3, 1, 1)]
    images, plane = {0: "images"}, {0: "images", 2: "height", 3: "width"}
    shapes = {name: plane if value.ndim == 4 else images for name, value in examples[0].items()}
    _export(module, examples, shapes, "sample", path)


@torch.no_grad()
def _export(module: nn.Module, examples: list[dict[str, Tensor]], shapes: dict, output: str, path: Path) -> None:
    """Exports by the first example, with `shapes` the names of the axes of any length; compares all examples."""
    import onnxruntime

    module.eval()
    with warnings.catch_warnings():  # PyTorch's exporter uses names that PyTorch deprecates
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, kwargs=examples[0], dynamo=True, dynamic_shapes=shapes, output_names=[output], verbose=False
        )
        assert program is not None
        program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs in examples:
        expected = module(**inputs).numpy()
        (result,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        error = np.abs(result - expected).max() / np.abs(expected).max()
        if not error <= _TOLERANCE:
            raise ValueError(f"{path.stem} gives other results in ONNX Runtime, off by {error:.1e}. Report it.")


def _settings(pipe: TextIRPipeline) -> dict:
    """What a program needs to know of a checkpoint, as JSON."""
    config, processor = pipe.restorer.config, pipe.image_processor
    names = ("task", "sample_size", "in_channels", "out_channels", "embedding_dim", "skip_strength_source")
    return {name: config[name] for name in names} | {
        "stride": pipe.restorer.stride,
        "noise_maps": len(pipe.restorer.noise_sizes(pipe.restorer.stride, pipe.restorer.stride)),
        "prompt_templates": list(pipe.config.prompt_templates or ["{}"]),
        "max_tokens": pipe.tokenizer.model_max_length,
        "image_size": processor.crop_size["height"],
        "image_mean": list(processor.image_mean),
        "image_std": list(processor.image_std),
    }

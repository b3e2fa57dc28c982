"""Trains the dual encoder from pretrained towers, stage by stage; a finished stage is not repeated.

    python -m training.clip.train --data DIR --folder runs/encoder --output runs/encoder/textir-mini-clip

1. `distill`: the text tower, with a smaller vocabulary, learns the space of a larger text model and to read facts.
2. `warm`: the heads of both towers learn above the frozen backbones.
3. `tune`: the late stages of the image backbone learn with them. The average of the weights is written.
"""

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from textir_hf.atomic import replacing
from textir_hf.models.towers import ImageTower
from training.clip import words
from training.clip.data import FACES, OBJECTS, SCENES, CaptionSource, ImageSet, LabeledSource, Source
from training.clip.distill import TEACHER, Distillation, recombined, teacher_features
from training.clip.towers import FrozenTexts, all_features, embed_frozen, initial_encoder, save_encoder, trim

LOG_SCALE = 3.0  # logarithm of the inverse temperature at the start
FAVORED = ("male", "young", "smiling", "eyeglasses", "bald", "hat", "beard", "bangs", "blond_hair", "black_hair")


@dataclass
class Stage:
    """Options of `warm` and `tune`.

    Args:
        steps: In all.
        sizes: Images of each source in a step.
        weights: Of the sources' losses.
        rates: Learning rates of the image backbone's last stages, of the image head and the temperature, and of the
            text head; after `warmup` steps they fall along a cosine.
        warmup: Steps until the full learning rates.
        first_stage: The first stage of the backbone that learns.
        minutes: Between two checkpoints, each with a measurement of the held-out images.
        workers: Processes that decode and augment images.
    """

    steps: int = 3000
    sizes: tuple[int, ...] = (112, 48, 32)
    weights: tuple[float, ...] = (1.0, 0.6, 0.4)
    rates: tuple[float, float, float] = (2.5e-4, 4e-4, 4e-4)
    warmup: int = 30
    first_stage: int = 3
    minutes: float = 5.0
    workers: int = 0


WARM = Stage(250, (256, 192, 96), (1, 1, 1), (0.0, 1e-3, 1e-3), warmup=50, first_stage=7)
TUNE = Stage()


@dataclass
class Corpus:
    """All sentences of a run.

    Args:
        sources: "scenes" has captions, "faces" and "objects" have pairs.
        sentences: The captions row by row, both texts of every pair, and then sentences for distillation only.
        extra: How many those are.
        groups: Numbers of the pairs' sentences, and their facts.
        learned: Numbers of all sentences but the captions of test and held-out images.
    """

    sources: dict[str, Source]
    sentences: list[str]
    extra: int
    groups: list[tuple[np.ndarray, Tensor]]
    learned: np.ndarray


def read_corpus(data: Path, held_out: float, face_pairs: int = 400, object_pairs: int = 200) -> Corpus:
    """Opens the images in a folder and writes the sentences about them.

    Args:
        data: Folder of the parquet files.
        held_out: Share of the training rows that are left out.
        face_pairs: Pairs of sentences for every attribute of faces.
        object_pairs: Pairs for every color and kind of objects.
    """
    scenes, people, things = (ImageSet(data, names, held_out) for names in (SCENES, FACES, OBJECTS))
    captions = scenes.column("text")
    source, sentences = CaptionSource(scenes, captions), [caption for several in captions for caption in several]
    learned, groups, sources = [source.numbers[row] for row in scenes.train], [], {"scenes": source}
    extra = recombined([caption for row in scenes.train for caption in captions[row]])
    faces, objects = words.face_pairs(face_pairs), words.object_pairs(object_pairs)
    sources["faces"] = LabeledSource(people, people.face_labels(), faces, len(sentences), words.FACE_NAMES, FAVORED)
    first = len(sentences) + 2 * len(faces)
    sources["objects"] = LabeledSource(
        things, things.object_labels(), objects, first, words.OBJECT_NAMES, least_crop=0.6
    )
    for pairs, names in ((faces, words.FACE_NAMES), (objects, words.OBJECT_NAMES)):
        facts = words.to_matrix([facts for pair in pairs for facts in pair.statements], names)
        groups.append((np.arange(len(sentences), len(sentences) + 2 * len(pairs)), facts))
        sentences += [text for pair in pairs for text in pair.texts]
    count = sum(len(several) for several in captions)
    learned.append(np.arange(count, len(sentences) + len(extra)))
    return Corpus(sources, sentences + extra, len(extra), groups, np.concatenate(learned))


class _Draws(Dataset):
    """What each step takes from the sources, which follows from the step's number alone."""

    def __init__(self, sources: list[Source], sizes: tuple[int, ...], side: int) -> None:
        self.sources, self.sizes, self.side = sources, sizes, side

    def __getitem__(self, step: int):
        rng = np.random.default_rng([0, step])
        draws = [source.draw(size, rng) for source, size in zip(self.sources, self.sizes, strict=True)]
        pixels = [
            source.images.augmented(draw.rows, self.side, source.least_crop, rng)
            for source, draw in zip(self.sources, draws, strict=True)
        ]
        return draws, torch.cat(pixels)


class Tuner:
    """A stage that trains the image tower and the head of the text tower, and keeps their average.

    Args:
        tower: Image tower.
        texts: Embeds sentences by their numbers.
        sources: The sources of a step, by name.
        stage: Options.
        folder: Of the checkpoint.
        log_scale: Logarithm of the inverse temperature to begin with.
    """

    def __init__(
        self,
        tower: ImageTower,
        texts: FrozenTexts,
        sources: dict[str, Source],
        stage: Stage,
        folder: Path,
        log_scale: Tensor,
    ) -> None:
        self.tower = nn.utils.convert_conv2d_weight_memory_format(tower, torch.channels_last)
        self.device = next(tower.parameters()).device
        self.side = tower.grid * 32  # of its images, pixels
        self.texts, self.sources, self.stage, self.folder = texts.to(self.device), sources, stage, folder
        self.log_scale = nn.Parameter(log_scale.to(self.device, copy=True))
        self.modules = nn.ModuleDict({"image": tower, "text": texts})
        backbone = tower.backbone.requires_grad_(True)
        for part in (backbone.stem, *backbone.stages[: stage.first_stage]):
            part.requires_grad_(False)
        backbone.head.requires_grad_(stage.first_stage < len(backbone.stages))
        late = [p for p in backbone.parameters() if p.requires_grad]
        head = [p for name, p in tower.named_parameters() if not name.startswith("backbone.")]
        text = [p for p in texts.parameters() if p.requires_grad]
        groups = zip((late, [*head, self.log_scale], text), stage.rates, strict=True)
        parameters = [{"params": parameters, "lr": rate} for parameters, rate in groups if parameters]
        self.optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.1)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.batches, self.step = None, 0
        self.averaged = {name: value.clone() for name, value in self._learning().items()}

    def _rate(self, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / self.stage.steps, 1)))
        return min((step + 1) / max(self.stage.warmup, 1), 0.02 + 0.98 * cosine)

    def _learning(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.modules.named_parameters() if value.requires_grad}

    def train_step(self) -> Tensor:
        """One update; the loss of each source, on the device."""
        if self.batches is None:
            self.batches = iter(
                DataLoader(
                    _Draws(list(self.sources.values()), self.stage.sizes, self.side),
                    batch_size=None,
                    sampler=range(self.step, self.stage.steps),
                    num_workers=self.stage.workers,
                    collate_fn=tuple,
                    pin_memory=self.device.type == "cuda",
                    generator=torch.Generator(),  # else the loader draws from the state that dropout follows
                )
            )
        self.modules.train()
        self.optimizer.zero_grad()
        draws, pixels = next(self.batches)
        scale, rng = self.log_scale.exp().clamp(max=100), np.random.default_rng([1, self.step])
        images = self._embed(pixels).split(self.stage.sizes)
        parts = zip(self.sources.values(), draws, images, strict=True)
        losses = torch.stack([source.loss(draw, own, self.texts, scale, rng) for source, draw, own in parts])
        (losses * torch.tensor(self.stage.weights, device=self.device)).sum().backward()
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 5.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        learned, decay = self._learning(), min(0.995, self.step / (self.step + 10))
        torch._foreach_lerp_([self.averaged[name] for name in learned], list(learned.values()), 1 - decay)
        return losses.detach()

    def _embed(self, pixels: Tensor) -> Tensor:
        """`[N, D]` at unit length, in fp32: bf16 cannot tell neighbors apart."""
        pixels = pixels.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            return F.normalize(embed_frozen(self.tower, pixels, self.stage.first_stage).float(), dim=-1)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the weights and their average."""
        for name, value in self._learning().items():
            kept = value.clone()
            value.copy_(self.averaged[name])
            self.averaged[name].copy_(kept)

    def save(self) -> None:
        """Writes `checkpoint.pt`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = {"modules": self.modules, "optimizer": self.optimizer, "schedule": self.schedule}
        captions = [source for source in self.sources.values() if isinstance(source, CaptionSource)]
        state = {name: part.state_dict() for name, part in parts.items()} | {
            "averaged": self.averaged,
            "log_scale": self.log_scale.data,
            "torch": torch.get_rng_state(),
            "memories": [(source.memory_rows, source.memory) for source in captions],
            "step": self.step,
        }
        with replacing(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Goes on from `checkpoint.pt`, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name, part in {"modules": self.modules, "optimizer": self.optimizer, "schedule": self.schedule}.items():
            part.load_state_dict(state[name])
        self.averaged, self.step, self.batches = state["averaged"], state["step"], None
        self.log_scale.data.copy_(state["log_scale"])
        torch.set_rng_state(state["torch"].cpu())
        captions = [source for source in self.sources.values() if isinstance(source, CaptionSource)]
        for source, (rows, memory) in zip(captions, state["memories"], strict=True):
            source.memory_rows, source.memory = rows.cpu(), memory

    @torch.no_grad()
    def held_out(self) -> dict[str, dict[str, float]]:
        """Figures of the averaged weights on held-out images, by source."""
        self.swap()
        self.modules.eval()
        measured = {}
        for name, source in self.sources.items():
            rows = source.images.held_out
            parts = [source.images.normalized(rows[i : i + 64], self.side) for i in range(0, len(rows), 64)]
            if parts:
                measured[name] = source.held_out(torch.cat([self._embed(part) for part in parts]), self.texts)
        self.swap()
        return measured

    def run(self, max_minutes: float = math.inf) -> None:
        """Trains until the steps or the minutes are over, and keeps a checkpoint."""
        start = saved = time.monotonic()
        first, losses = self.step, torch.zeros(len(self.sources), device=self.device)
        while self.step < self.stage.steps and time.monotonic() - start < 60 * max_minutes:
            losses += self.train_step()
            if self.step % 20 == 0:
                means = zip(self.sources, (losses / 20).tolist(), strict=True)
                print(f"step {self.step}:", *(f"{name} {mean:.3f}" for name, mean in means), flush=True)
                losses.zero_()
            if time.monotonic() - saved > 60 * self.stage.minutes:
                self._keep()
                saved = time.monotonic()
        if self.step > first:
            self._keep()

    def _keep(self) -> None:
        self.save()
        for name, shares in self.held_out().items():
            print(f"step {self.step}, held-out {name}:", *(f"{k} {v:.1f}" for k, v in shares.items()), flush=True)


def distill(model, token_ids, corpus: Corpus, folder: Path, teacher: str) -> FrozenTexts:
    """Trains the text tower's BERT, unless it is done, and computes the features of all sentences."""
    tower, path, device = model.text_tower, folder / "distilled.pt", next(model.parameters()).device
    if not path.exists():
        targets = teacher_features(corpus.sentences, folder / "teacher.npz", teacher, device)
        distillation = Distillation(tower, token_ids, targets)
        distillation.learn_space(corpus.learned)
        distillation.learn_facts(corpus.learned, corpus.groups)
        features = all_features(tower, token_ids[: len(corpus.sentences) - corpus.extra])
        with replacing(path) as temporary:
            torch.save({"bert": tower.bert.state_dict(), "features": features}, temporary)
    state = torch.load(path, map_location=device, weights_only=True)
    tower.bert.load_state_dict(state["bert"])
    return FrozenTexts(tower, state["features"])


def run(corpus: Corpus, folder: Path, output: Path, teacher: str, workers: int, max_minutes: float) -> None:
    """Goes through all stages and writes the complete checkpoint, in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer, image_processor = initial_encoder()
    bert = model.text_tower.bert
    learned = (corpus.sentences[n] for n in corpus.learned)
    tokenizer, rows = trim(tokenizer, bert.get_input_embeddings().weight.data, learned)
    bert.resize_token_embeddings(len(tokenizer)).weight.data.copy_(rows)
    model.config.text_config.vocab_size = len(tokenizer)
    model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    texts = distill(model, tokenizer(corpus.sentences, truncation=True)["input_ids"], corpus, folder, teacher)
    log_scale = torch.tensor(LOG_SCALE)
    for name, stage, minutes in (("warm", WARM, math.inf), ("tune", TUNE, max_minutes)):
        stage = replace(stage, workers=workers)
        tuner = Tuner(model.image_tower, texts, corpus.sources, stage, folder / name, log_scale)
        tuner.resume()
        tuner.run(minutes)
        tuner.swap()
        log_scale = tuner.log_scale.detach()
    model.logit_scale.data.copy_(log_scale)
    save_encoder(model.cpu().eval(), tokenizer, image_processor, output)
    print(f"Wrote {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--folder", type=Path, required=True, help="where the stages are kept")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--teacher", default=TEACHER, help="folder, or name on the Hub, of the larger text model")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the training rows to choose runs by")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode and augment images")
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="of the last stage; later calls go on")
    args = parser.parse_args()
    torch.manual_seed(0)
    corpus = read_corpus(args.data, args.held_out)
    run(corpus, args.folder, args.output, args.teacher, args.workers, args.max_minutes)


if __name__ == "__main__":
    main()

"""Images of the encoder's data sets, and sources: images of one domain with sentences and a loss."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from datasets import concatenate_datasets
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from textir_hf.checks import check_range
from textir_hf.hub.data import open_rows, read_image
from training.clip import words
from training.clip.towers import DEVIATION, MEAN
from training.clip.words import Pair, relation, to_matrix

CELEBA = "faces_celeba_89"
SCENES = ("flickr8k_176",)
FACES = (CELEBA, "faces_utk_144")
OBJECTS = ("flowers_176", "clothing_176", "objects_160")
_JITTER = 0.25  # largest change of brightness and contrast
_ONE_SIDED = 0.25  # weight of a pair that has only one answer in the batch: it would teach a bias


class ImageSet:
    """The images of some parquet files, still encoded, with their columns.

    Args:
        folder: Of the files.
        names: The files' names without suffix; each has the columns `image` and `split`.
        held_out: Share of the training rows that training leaves out, for choosing between runs. A file's held-out rows
            are the same whatever files follow it.

    Attributes:
        train: Numbers of the training rows; also `held_out` and `test`.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], held_out: float = 0.0) -> None:
        check_range("held_out", held_out, 0, 0.9)
        self.parts = [open_rows(folder / f"{name}.parquet") for name in names]
        self.rows = concatenate_datasets([part.select_columns("image") for part in self.parts])
        train = np.array(self.column("split")) == "train"
        left_out = np.random.default_rng(0).random(len(train)) < held_out
        self.train, self.held_out = np.flatnonzero(train & ~left_out), np.flatnonzero(train & left_out)
        self.test = np.flatnonzero(~train)

    def column(self, name: str) -> list:
        """A column that all files have, over all rows."""
        return [value for part in self.parts for value in part[name]]

    def decode(self, row: int) -> Image.Image:
        """One image, RGB."""
        return read_image(self.rows[int(row)]["image"], f"Image {row}").convert("RGB")

    def normalized(self, rows: np.ndarray, size: int) -> Tensor:
        """Whole images, `[N, 3, size, size]`, normalized."""
        images = [self.decode(row).resize((size, size), Image.Resampling.BICUBIC) for row in rows]
        return (_stack(images) - MEAN) / DEVIATION

    def augmented(self, rows: np.ndarray, size: int, least_crop: float, rng: np.random.Generator) -> Tensor:
        """Images cropped, mirrored and lit at random, `[N, 3, size, size]`, normalized."""
        images = _stack([augment(self.decode(row), size, least_crop, rng) for row in rows])
        return (relight(images, rng) - MEAN) / DEVIATION

    def face_labels(self) -> Tensor:
        """Labels of faces, `[N, len(FACE_NAMES)]` in {-1, 0, 1}."""
        labels = []
        for part in self.parts:
            columns = part.select_columns([name for name in part.column_names if name not in ("image", "split")])
            labels.append(words.face_labels({name: np.array(values) for name, values in columns.to_dict().items()}))
        return torch.from_numpy(np.concatenate(labels))

    def object_labels(self) -> Tensor:
        """Labels of objects, `[N, len(OBJECT_NAMES)]` in {-1, 0, 1}; their colors are seen in the pixels."""
        kinds = self.column("label")
        labels = [words.object_labels(np.asarray(self.decode(row)), kind) for row, kind in enumerate(kinds)]
        return torch.from_numpy(np.stack(labels))


def _stack(images: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).movedim(-1, 1).float() / 255


def augment(image: Image.Image, size: int, least_crop: float, rng: np.random.Generator) -> Image.Image:
    """A random crop, mirrored half of the time, `size` pixels on each side; a quarter of them lose fine detail.

    Args:
        image: RGB.
        size: Of the result.
        least_crop: Least share of the area that is kept.
        rng: Source of all choices.
    """
    area = image.width * image.height * rng.uniform(least_crop, 1)
    ratio = np.exp(rng.uniform(-0.22, 0.22))
    width, height = min((area * ratio) ** 0.5, image.width), min((area / ratio) ** 0.5, image.height)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    box: tuple[float, float, float, float] | None = (left, top, left + width, top + height)
    if rng.random() < 0.25:  # images of few pixels look like that when resized
        small = int(rng.uniform(0.35, 0.9) * size)
        image, box = image.resize((small, small), Image.Resampling.BICUBIC, box), None
    image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def relight(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images `[N, 3, H, W]` in [0, 1], half of them with another brightness and contrast."""
    count = len(images)
    changed = rng.random(count) < 0.5
    factors = np.where(changed, rng.uniform(1 - _JITTER, 1 + _JITTER, (2, count)), 1)
    brightness, contrast = torch.from_numpy(factors).float()[:, :, None, None, None]
    gray = images.mean((1, 2, 3), keepdim=True)
    return ((images - gray) * contrast + gray * brightness).clamp(0, 1)


def contrastive_loss(logits: Tensor, relation: Tensor) -> Tensor:
    """InfoNCE over the columns (CLIP), the target spread over all that are true.

    Args:
        logits: `[N, M]`, cosines times the inverse temperature.
        relation: `[N, M]`: 1 true, -1 false, 0 unknown, which is left out; so are rows without a true column.
    """
    logits = logits.masked_fill(relation == 0, -1e4)
    target = (relation > 0).to(logits.dtype)
    rows = target.sum(1) > 0
    target = target[rows] / target[rows].sum(1, keepdim=True)
    return -(F.log_softmax(logits[rows], 1) * target).sum(1).mean()


def choice_loss(logits: Tensor, answer: Tensor) -> Tensor:
    """Choice between the two sentences of a pair; both answers weigh the same within each pair.

    Args:
        logits: `[N, P]`: the first sentence's similarity less the second's.
        answer: `[N, P]`: 1 the first is true and the second false, -1 the reverse, 0 neither.
    """
    losses = F.softplus(-logits * answer)
    sides = torch.stack([answer > 0, answer < 0]).to(logits.dtype)  # [2, N, P]
    counts = sides.sum(1)
    means = (losses * sides).sum(1) / counts.clamp(min=1)
    by_pair = means.sum(0) / (counts > 0).sum(0).clamp(min=1)
    weight = torch.where((counts > 0).all(0), 1.0, _ONE_SIDED)
    return (by_pair * weight).sum() / weight.sum()


class Draw(NamedTuple):
    """Rows of images for a step, and the numbers of the pairs that are asked; none for captions."""

    rows: np.ndarray
    pairs: np.ndarray


class Source(ABC):
    """Images of one domain with sentences; a random crop keeps at least the share `least_crop` of an image's area."""

    images: ImageSet
    least_crop: float

    @abstractmethod
    def draw(self, size: int, rng: np.random.Generator) -> Draw:
        """Chooses training images for a step."""

    @abstractmethod
    def loss(self, draw: Draw, images: Tensor, embed, scale: Tensor, rng: np.random.Generator) -> Tensor:
        """The loss of a step.

        Args:
            draw: The step's.
            images: Embeddings of its images, `[N, D]` at unit length.
            embed: Embeds sentences by number, `[N]` to `[N, D]` at unit length.
            scale: Inverse temperature.
            rng: Source of further choices.
        """


class CaptionSource(Source):
    """Images with several captions each, told from other captions and from earlier images.

    Args:
        images: With captions.
        captions: Of every image; their numbers begin at 0 and follow row by row.
        negatives: Captions of other images in every step.
        memory: Embeddings of earlier images that captions are also told from (cross-batch memory, Wang et al., 2020).
    """

    least_crop = 0.5

    def __init__(self, images: ImageSet, captions: list[list[str]], negatives: int = 640, memory: int = 1024) -> None:
        self.images, self.negatives, self.limit = images, negatives, memory
        ends = np.cumsum([len(several) for several in captions])
        self.numbers = [np.arange(end - len(several), end) for end, several in zip(ends, captions, strict=True)]
        self.memory_rows, self.memory = torch.zeros(0, dtype=torch.long), torch.zeros(0, 0)

    def owners(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of all captions of these rows, and the place of each one's image among the rows."""
        places = [np.full(len(self.numbers[row]), place) for place, row in enumerate(rows)]
        return np.concatenate([self.numbers[row] for row in rows]), np.concatenate(places)

    def draw(self, size, rng):
        return Draw(rng.choice(self.images.train, size, replace=False), np.zeros(0, int))

    def loss(self, draw, images, embed, scale, rng):
        device, rows = images.device, torch.from_numpy(draw.rows)
        own, places = self.owners(draw.rows)
        owners = torch.from_numpy(draw.rows[places])
        others = rng.choice(np.setdiff1d(self.images.train, draw.rows), self.negatives)
        texts = embed(torch.from_numpy(np.concatenate([own, [rng.choice(self.numbers[row]) for row in others]])))
        all_owners = torch.cat([owners, torch.from_numpy(others)])
        by_image = contrastive_loss(images @ texts.T * scale, _same(rows, all_owners).to(device))
        kept = ~torch.isin(self.memory_rows, rows)
        memory, memory_rows = (
            self.memory.to(device).reshape(-1, images.shape[1])[kept.to(device)],
            self.memory_rows[kept],
        )
        pool = torch.cat([images, memory])
        same = _same(owners, torch.cat([rows, memory_rows])).to(device)
        by_text = contrastive_loss(texts[: len(own)] @ pool.T * scale, same)
        self.memory = torch.cat([memory, images]).detach()[-self.limit :]
        self.memory_rows = torch.cat([memory_rows, rows])[-self.limit :]
        return (by_image + by_text) / 2

    def held_out(self, images: Tensor, embed) -> dict[str, float]:
        """Share (%) of held-out captions whose image, of `[N, D]` fp32, is among the first 1, 5 and 10."""
        numbers, places = self.owners(self.images.held_out)
        rank = ranks(images, embed(torch.from_numpy(numbers)), torch.from_numpy(places).to(images.device))
        return {f"R@{k}": 100 * (rank < k).float().mean().item() for k in (1, 5, 10)}


def _same(rows: Tensor, columns: Tensor) -> Tensor:
    return torch.where(rows[:, None] == columns[None], 1, -1)


def ranks(images: Tensor, texts: Tensor, owners: Tensor) -> Tensor:
    """How many images `[N, D]` are nearer to each text `[T, D]` than its own, `[T]`; all at unit length, in fp32.

    Ties of bf16 would count as hits.
    """
    scores = texts @ images.T
    return (scores > scores.gather(1, owners[:, None])).sum(1)


class LabeledSource(Source):
    """Images with labels, asked pairs of sentences that differ in one fact.

    A draw takes an attribute, a pair about it, the sentence that should be right, and then an image for which it is. So
    both sides of every attribute come equally often.

    Args:
        images: The images.
        labels: `[N, len(names)]` in {-1, 0, 1}.
        pairs: Their two sentences have the numbers `first + 2 i` and `first + 2 i + 1`.
        first: The number of the first sentence among those of the run.
        names: Of the labels' columns.
        favored: Attributes that are drawn three times as often as the others.
        least_crop: As for `Source`.
    """

    def __init__(
        self,
        images: ImageSet,
        labels: Tensor,
        pairs: list[Pair],
        first: int,
        names: tuple[str, ...],
        favored: tuple[str, ...] = (),
        least_crop: float = 0.75,
    ) -> None:
        self.images, self.labels, self.first, self.least_crop = images, labels, first, least_crop
        self.statements = torch.stack([to_matrix([p.statements[side] for p in pairs], names) for side in (0, 1)])
        attributes = np.array([p.attribute for p in pairs])
        self.pairs_of = {name: np.flatnonzero(attributes == name) for name in dict.fromkeys(attributes.tolist())}
        self.attributes = [*self.pairs_of, *favored, *favored]
        # the right sentence of each pair for each image, [P, N]: 1 the first, -1 the second, 0 neither
        one, two = (relation(labels, to_matrix([p.facts[side] for p in pairs], names)) for side in (0, 1))
        answers = ((one == 1) & (two == -1)).to(torch.int8) - ((one == -1) & (two == 1)).to(torch.int8)
        self.answer = answers.T.contiguous()

    def draw(self, size, rng):
        rows: list[int] = []
        pairs: list[int] = []
        while len(rows) < size:
            pair = rng.choice(self.pairs_of[rng.choice(self.attributes)])
            answers = self.answer[pair, self.images.train].numpy()
            candidates = self.images.train[answers == rng.choice((1, -1))]
            if len(candidates):
                rows.append(rng.choice(candidates))
                pairs.append(pair)
        return Draw(np.array(rows), np.array(pairs))

    def sentences(self, pairs: Tensor) -> Tensor:
        """Numbers of the first sentences of these pairs, then of the second ones."""
        return torch.cat([self.first + 2 * pairs, self.first + 2 * pairs + 1])

    def loss(self, draw, images, embed, scale, rng):
        pairs = torch.from_numpy(draw.pairs)
        logits = images @ embed(self.sentences(pairs)).T * scale
        first, second = logits.chunk(2, 1)
        choice = choice_loss(first - second, self.answer[pairs][:, draw.rows].T.float().to(images.device))
        fits = relation(self.labels[draw.rows], torch.cat([self.statements[0, pairs], self.statements[1, pairs]]))
        fits = fits.to(images.device)
        return choice + 0.5 * (contrastive_loss(logits, fits) + contrastive_loss(logits.T, fits.T))

    def held_out(self, images: Tensor, embed) -> dict[str, float]:
        """Share (%) of right choices on held-out images, both sides weighing the same: by attribute, and the mean."""
        rng, shares = np.random.default_rng(0), {}
        for name, numbers in self.pairs_of.items():
            pairs = torch.from_numpy(rng.choice(numbers, min(12, len(numbers)), replace=False))
            first, second = (images @ embed(self.sentences(pairs)).T).chunk(2, 1)
            chosen, answer = torch.where(first > second, 1, -1).cpu(), self.answer[pairs][:, self.images.held_out].T
            sides = [(chosen[answer == side] == side).float().mean().item() for side in (1, -1)]
            if not np.isnan(sides).any():
                shares[name] = 50 * sum(sides)
        return {"mean": float(np.mean(list(shares.values()))), **shares} if shares else {}

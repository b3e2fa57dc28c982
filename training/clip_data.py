"""Images of the dual encoder's data sets, and two kinds of supervision: captions, and pairs of sentences.

Everything about a step's images follows from the generator that the step is given.
"""

import numpy as np
import torch
from datasets import concatenate_datasets
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from textir_hf.checks import check_range
from textir_hf.hub.data import open_rows, read_image
from textir_hf.models.embedding import embed_images
from training import clip_words as words
from training.clip_words import Pair, relation, to_matrix

MEAN, DEVIATION = 127 / 255, 128 / 255  # of the image tower's normalization
_ONE_SIDED = 0.25  # weight of a pair that has only one answer in the batch: it would teach a bias


class ImageSet:
    """The rows of some files or data sets with a column `image`, still encoded.

    `train`, `held_out` and `test` are numbers of rows. Where there is a column `split`, rows that are not of "train"
    are for tests. A file's held-out rows are the same whatever files follow it.
    """

    def __init__(self, sources: list[str], held_out: float = 0.0) -> None:
        check_range("--held-out", held_out, 0, 0.9)
        self.parts = [open_rows(source) for source in sources]
        self.rows = concatenate_datasets([part.select_columns("image") for part in self.parts])
        splits = [part["split"][:] if "split" in part.column_names else ["train"] * len(part) for part in self.parts]
        train = np.concatenate(splits) == "train"
        left_out = np.random.default_rng(0).random(len(train)) < held_out
        self.train, self.held_out = np.flatnonzero(train & ~left_out), np.flatnonzero(train & left_out)
        self.test = np.flatnonzero(~train)

    def column(self, name: str) -> list:
        return [value for part in self.parts for value in part[name]]

    def decode(self, row: int) -> Image.Image:
        return read_image(self.rows[int(row)]["image"], f"Image {row}").convert("RGB")

    @torch.no_grad()
    def embed(self, rows: np.ndarray, model, processor) -> Tensor:
        """The embeddings of some images, `[N, D]` at unit length, in fp32: ties of bf16 would count as hits."""
        embedded = []
        for row in tqdm(rows, desc="images"):
            pixels = torch.from_numpy(np.array(self.decode(row))).movedim(-1, 0)[None] / 255
            embedded.append(embed_images(model, processor, pixels.to(model.device)))
        return torch.cat(embedded)

    def face_labels(self) -> Tensor:
        """Labels of faces, `[N, len(FACE_NAMES)]` in {-1, 0, 1}."""
        labels = []
        for part in self.parts:
            columns = part.remove_columns(["image"]).to_dict()
            labels.append(words.face_labels({name: np.array(values) for name, values in columns.items()}))
        return torch.from_numpy(np.concatenate(labels))

    def object_labels(self) -> Tensor:
        """Labels of objects, `[N, len(OBJECT_NAMES)]` in {-1, 0, 1}; their colors are seen in the pixels."""
        kinds = self.column("label")
        labels = [words.object_labels(np.asarray(self.decode(row)), kind) for row, kind in enumerate(kinds)]
        return torch.from_numpy(np.stack(labels))


def augmented(image: Image.Image, size: int, least_crop: float, rng: np.random.Generator) -> Tensor:
    """A random crop of at least `least_crop` of the area, normalized, `[3, size, size]`.

    Half of the crops are mirrored, half have another brightness and contrast, and a quarter lose fine detail.
    """
    area, ratio = image.width * image.height * rng.uniform(least_crop, 1), np.exp(rng.uniform(-0.22, 0.22))
    width, height = min((area * ratio) ** 0.5, image.width), min((area / ratio) ** 0.5, image.height)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    box: tuple[float, float, float, float] | None = (left, top, left + width, top + height)
    if rng.random() < 0.25:
        small = int(rng.uniform(0.35, 0.9) * size)
        image, box = image.resize((small, small), Image.Resampling.BICUBIC, box), None
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box), np.float32) / 255
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.5:
        (brightness, contrast), gray = rng.uniform(0.75, 1.25, 2), pixels.mean()
        pixels = np.clip((pixels - gray) * contrast + gray * brightness, 0, 1)
    return (torch.from_numpy(pixels.astype(np.float32)).movedim(-1, 0) - MEAN) / DEVIATION


def contrastive_loss(logits: Tensor, relation: Tensor) -> Tensor:
    """InfoNCE over the columns of `logits` `[N, M]` (CLIP), the target spread over all that are true.

    `relation` `[N, M]` is 1 for true, -1 for false, 0 for unknown; unknown and rows without a true one are left out.
    """
    logits = logits.masked_fill(relation == 0, -1e4)
    target = (relation > 0).to(logits.dtype)
    rows = target.sum(1) > 0
    target = target[rows] / target[rows].sum(1, keepdim=True)
    return -(F.log_softmax(logits[rows], 1) * target).sum(1).mean()


def choice_loss(logits: Tensor, answer: Tensor) -> Tensor:
    """Choice between the two sentences of a pair; both answers weigh the same within each pair.

    `logits` `[N, P]` are the first sentence's similarity less the second's; `answer` is 1 if the first is true and the
    second false, -1 for the reverse, 0 for neither.
    """
    sides = torch.stack([answer > 0, answer < 0]).to(logits.dtype)  # [2, N, P]
    counts = sides.sum(1)
    means = (F.softplus(-logits * answer) * sides).sum(1) / counts.clamp(min=1)
    by_pair = means.sum(0) / (counts > 0).sum(0).clamp(min=1)
    weight = torch.where((counts > 0).all(0), 1.0, _ONE_SIDED)
    return (by_pair * weight).sum() / weight.sum()


def recalls(images: Tensor, texts: Tensor, owners: Tensor) -> dict[str, float]:
    """Share (%) of texts `[T, D]` whose own image of `[N, D]` is among the nearest 1, 5 and 10."""
    scores = texts @ images.T
    rank = (scores > scores.gather(1, owners[:, None])).sum(1)
    return {f"R@{k}": 100 * (rank < k).float().mean().item() for k in (1, 5, 10)}


class CaptionSource:
    """Images with several captions each, told from the other images' and from `negatives` more captions.

    A draw for a step is rows of images and numbers of what is asked about them, none here. `embed` embeds sentences by
    their numbers. `held_out` measures the held-out images, here their `recalls`.
    """

    least_crop = 0.5

    def __init__(self, images: ImageSet, captions: list[list[str]], negatives: int = 640) -> None:
        self.images, self.negatives = images, negatives
        self.sentences = [caption for several in captions for caption in several]
        ends = np.cumsum([len(several) for several in captions])
        self.numbers = [np.arange(end - len(several), end) for end, several in zip(ends, captions, strict=True)]

    def owners(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The numbers of all captions of these rows, and the place of each one's image among the rows."""
        numbers = [self.numbers[row] for row in rows]
        places = np.repeat(np.arange(len(rows)), [len(each) for each in numbers])
        return torch.from_numpy(np.concatenate(numbers)), torch.from_numpy(places)

    def draw(self, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.choice(self.images.train, size, replace=False), np.zeros(0, int)

    def loss(self, draw, images: Tensor, embed, scale: Tensor, rng: np.random.Generator) -> Tensor:
        """The loss of a draw, whose images are embedded as `[N, D]` at unit length; `scale` is 1 / temperature."""
        own, places = self.owners(draw[0])
        others = rng.choice(np.setdiff1d(self.images.train, draw[0]), self.negatives)
        more = torch.tensor([rng.choice(self.numbers[row]) for row in others])
        texts = embed(torch.cat([own, more]))
        places = torch.cat([places, torch.full_like(more, -1)]).to(images.device)
        same = 2 * (torch.arange(len(images), device=images.device)[:, None] == places).int() - 1
        by_image = contrastive_loss(images @ texts.T * scale, same)
        return (by_image + contrastive_loss(texts[: len(own)] @ images.T * scale, same[:, : len(own)].T)) / 2

    def held_out(self, images: Tensor, embed) -> dict[str, float]:
        numbers, places = self.owners(self.images.held_out)
        return recalls(images, embed(numbers), places.to(images.device))


class LabeledSource:
    """Images with labels, asked pairs of sentences that differ in one fact.

    A draw takes an attribute, a pair about it, the sentence to be right, and then an image for which it is: both sides
    of every attribute come equally often. `labels` are `[N, len(names)]`; pair i has sentences 2 i and 2 i + 1.
    """

    least_crop = 0.7

    def __init__(self, images: ImageSet, labels: Tensor, pairs: list[Pair], names: tuple[str, ...]) -> None:
        self.images, self.labels = images, labels
        self.sentences = [text for pair in pairs for text in pair.texts]
        self.statements = torch.stack([to_matrix([p.facts[side] for p in pairs], names) for side in (0, 1)])
        attributes = np.array([p.attribute for p in pairs])
        self.pairs_of = {name: np.flatnonzero(attributes == name) for name in dict.fromkeys(attributes.tolist())}
        # the right sentence of each pair for each image, [N, P]: 1 the first, -1 the second, 0 neither
        one, two = (relation(labels, statements) for statements in self.statements)
        self.answer = ((one == 1) & (two == -1)).to(torch.int8) - ((one == -1) & (two == 1)).to(torch.int8)

    def draw(self, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows, pairs, names = [], [], list(self.pairs_of)
        while len(rows) < size:
            pair = rng.choice(self.pairs_of[rng.choice(names)])
            answers = self.answer[self.images.train, pair].numpy()
            candidates = self.images.train[answers == rng.choice((1, -1))]
            if len(candidates):
                rows.append(rng.choice(candidates))
                pairs.append(pair)
        return np.array(rows), np.array(pairs)

    def loss(self, draw, images: Tensor, embed, scale: Tensor, rng: np.random.Generator) -> Tensor:
        rows, pairs = draw[0], torch.from_numpy(draw[1])
        logits = images @ embed(torch.cat([2 * pairs, 2 * pairs + 1])).T * scale
        first, second = logits.chunk(2, 1)
        choice = choice_loss(first - second, self.answer[rows][:, pairs].float().to(images.device))
        fits = relation(self.labels[rows], self.statements[:, pairs].flatten(0, 1)).to(images.device)
        return choice + 0.5 * (contrastive_loss(logits, fits) + contrastive_loss(logits.T, fits.T))

    def held_out(self, images: Tensor, embed) -> dict[str, float]:
        """Share (%) of right choices on held-out images, both sides weighing the same: the mean over the attributes."""
        shares = []
        for numbers in self.pairs_of.values():
            pairs = torch.from_numpy(numbers[:12])
            first, second = (images @ embed(torch.cat([2 * pairs, 2 * pairs + 1])).T).cpu().chunk(2, 1)
            chosen, answer = torch.where(first > second, 1, -1), self.answer[self.images.held_out][:, pairs]
            if (answer > 0).any() and (answer < 0).any():
                shares += [(chosen[answer == side] == side).float().mean().item() for side in (1, -1)]
        return {"right": 100 * float(np.mean(shares))} if shares else {}

"""Measures a dual encoder on images that it was not trained on.

    python -m training.evaluate_clip --data DIR
    python -m training.evaluate_clip --data DIR --checkpoint DIR --held-out 0.1

The first measures the test rows of all data sets, for the card. The second measures the rows that
`training.clip.run` left out with the same `--held-out`, for choosing between runs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from textir_hf.evaluation.tables import Cell, Table, markdown, write_report
from textir_hf.models.embedding import CHECKPOINTS, ENCODER, embed_images, embed_texts, load_encoder
from training.clip.data import CELEBA, SCENES, ImageSet, ranks
from training.clip.words import COLORS, FACE_NAMES, WORDS, color_labels, quantile_labels

Embed = Callable[..., Tensor]  # sentences -> [N, D] at unit length
LFW = "faces_lfw_112"
FLOWERS_AND_CLOTHING = ("flowers_176", "clothing_176")

PROMPTS, CHOICES, PARAPHRASES = (WORDS[name] for name in ("prompts", "choices", "paraphrases"))
AGAINST = {"blond_hair": "black_hair"}  # attribute: the one it is told from; faces with both or neither are left out


def retrieval(images: Tensor, texts: list[list[str]], embed: Embed, part: str = "test") -> Table:
    """Share of captions whose own image is among the first k.

    Args:
        images: `[N, D]`, unit length.
        texts: Captions of each image.
        embed: Embeds sentences.
        part: Name of the rows in the title.
    """
    owners = torch.tensor([i for i, several in enumerate(texts) for _ in several])
    rank = ranks(images, torch.cat([embed(*several) for several in texts]), owners)
    rows = {f"text to image R@{k}": [Cell(100 * (rank < k).float().mean().item())] for k in (1, 5, 10)}
    return Table(f"Flickr8k {part}, {len(texts)} images, {len(owners)} captions", ["measured (%)"], rows, 1)


def attributes(images: Tensor, labels: np.ndarray, embed: Embed) -> Table:
    """A prompt against its contrary; once on the clearly labeled faces, once with all unclear ones called false."""
    rows: dict[str, list[Cell]] = {}
    for name, prompts in PROMPTS.items():
        pair = (images @ embed(*prompts).T).numpy()
        label, score = labels[:, list(WORDS["lfw"]).index(name)], pair[:, 0] - pair[:, 1]
        known = label != 0
        clear, strict = roc_auc_score(label[known] > 0, score[known]), roc_auc_score(label > 0, score)
        rows[name.replace("_", " ")] = [Cell(float(clear)), Cell(float(strict))]
    rows["mean of all"] = [Cell(float(np.mean([cells[i].mean for cells in rows.values()]))) for i in range(2)]
    columns = ["labeled true or false", "all others called false"]
    return Table(f"LFW test, {len(labels)} faces, AUC", columns, rows)


def groups(images: Tensor, labels: np.ndarray, embed: Embed, least: int = 8) -> Table:
    """The clearly labeled faces of `attributes` by sex and age; empty where either side has fewer than `least`."""
    names = list(WORDS["lfw"])
    male, young = (labels[:, names.index(n)] for n in ("male", "young"))
    parts = {"women": male < 0, "men": male > 0, "young": young > 0, "old": young < 0}
    rows: dict[str, list[Cell]] = {}
    for name, prompts in PROMPTS.items():
        pair = (images @ embed(*prompts).T).numpy()
        label, score = labels[:, names.index(name)], pair[:, 0] - pair[:, 1]
        rows[name.replace("_", " ")] = cells = []
        for part in parts.values():
            known = part & (label != 0)
            enough = min((label[known] > 0).sum(), (label[known] < 0).sum()) >= least
            cells.append(Cell(float(roc_auc_score(label[known] > 0, score[known])) if enough else None))
    title = f"LFW test by group, AUC of those labeled true or false, {least} of each at least"
    return Table(title, [f"{name} ({part.sum()})" for name, part in parts.items()], rows)


def colors(images: Tensor, labels: np.ndarray, embed: Embed, part: str = "test") -> Table:
    """A color word against no color word, on the images that clearly have or lack the color.

    Args:
        images: `[N, D]`, unit length.
        labels: `[N, 10 or more]` in {-1, 0, 1}, of `COLORS` first.
        embed: Embeds sentences.
        part: Name of the rows in the title.
    """
    rows: dict[str, list[Cell]] = {}
    neutral = embed("a flower", "a piece of clothing").mean(0)
    for i, word in enumerate(COLORS):
        prompt = embed(f"a {word} flower", f"a {word} piece of clothing").mean(0)
        true, false = labels[:, i] > 0, labels[:, i] < 0
        score = (images @ (prompt - neutral)).numpy()
        enough = true.any() and false.any()
        auc = float(roc_auc_score(true[true | false], score[true | false])) if enough else None
        rows[f"{word} ({true.sum()} true, {false.sum()} false)"] = [Cell(auc)]
    return Table(f"flowers and clothing {part}, {len(labels)} images, AUC", ["measured"], rows)


def choices(images: Tensor, labels: np.ndarray, embed: Embed, part: str = "test") -> Table:
    """Right choices between two sentences on faces labeled by people; both sides weigh the same.

    A row is empty where no face has one of the sides.

    Args:
        images: `[N, D]`, unit length.
        labels: `[N, len(FACE_NAMES)]` in {-1, 1}.
        embed: Embeds sentences.
        part: Name of the rows in the title.
    """
    rows: dict[str, list[Cell]] = {}
    for name, sentences in CHOICES.items():
        label = labels[:, FACE_NAMES.index(name)]
        if name in AGAINST:
            other = labels[:, FACE_NAMES.index(AGAINST[name])]
            label = np.where(label == other, 0, label)
        first, second = (images @ embed(*sentences).T).T.numpy()
        cells = [Cell(), Cell(), Cell()]
        if (label > 0).any() and (label < 0).any():
            shares = [100 * np.mean((first > second)[label == side] == (side > 0)) for side in (1, -1)]
            cells = [Cell(float(share)) for share in (np.mean(shares), *shares)]
        rows[name.replace("_", " ")] = cells
    measured = np.array([[cell.mean for cell in cells] for cells in rows.values() if cells[0].mean is not None])
    rows["mean of all"] = [Cell(float(mean)) for mean in measured.mean(0)]
    columns = ["balanced accuracy (%)", "first sentence true", "second true"]
    return Table(f"CelebA {part}, {len(labels)} faces, the nearer of two sentences", columns, rows, 1)


def paraphrases(embed: Embed) -> Table:
    """How often a sentence is nearer to its paraphrase than to its contrary."""
    given, same, contrary = (embed(*several) for several in zip(*PARAPHRASES, strict=True))
    near, far = (given * same).sum(1), (given * contrary).sum(1)
    rows = {
        "nearer to the paraphrase (%)": [Cell(100 * (near > far).float().mean().item())],
        "similarity to the paraphrase": [Cell(near.mean().item())],
        "similarity to the contrary": [Cell(far.mean().item())],
    }
    return Table(f"{len(PARAPHRASES)} sentences, text to text", ["measured"], rows)


class Measurement:
    """All tables of one encoder.

    Args:
        data: Folder of the parquet files.
        checkpoint: The encoder's.
        held_out: 0 measures the test rows; else the rows that training left out with this share.
    """

    def __init__(self, data: Path, checkpoint: Path, held_out: float = 0.0) -> None:
        self.data, self.held_out, self.part = data, held_out, "held out" if held_out else "test"
        self.model, self.tokenizer, self.image_processor = load_encoder(checkpoint)

    def tables(self) -> list[Table]:
        """The tables. Faces of LFW have test rows only."""
        scenes, celeba, objects = (self._open(names) for names in (SCENES, (CELEBA,), FLOWERS_AND_CLOTHING))
        texts, kinds, rows = scenes.column("text"), objects.column("label"), self._rows(objects)
        labels = [color_labels(np.asarray(objects.decode(row)), kinds[row]) for row in rows]
        tables = [retrieval(self._images(scenes), [texts[row] for row in self._rows(scenes)], self.texts, self.part)]
        tables += [] if self.held_out else self._lfw()
        tables.append(colors(self._images(objects), np.stack(labels), self.texts, self.part))
        people = celeba.face_labels().numpy()[self._rows(celeba)]
        return [*tables, choices(self._images(celeba), people, self.texts, self.part), paraphrases(self.texts)]

    @torch.no_grad()
    def texts(self, *sentences: str) -> Tensor:
        """Embeddings of sentences, `[N, D]` at unit length."""
        return embed_texts(self.model, self.tokenizer, list(sentences))

    def _open(self, names: tuple[str, ...]) -> ImageSet:
        return ImageSet(self.data, names, self.held_out)

    def _rows(self, images: ImageSet) -> np.ndarray:
        return images.held_out if self.held_out else images.test

    def _lfw(self) -> list[Table]:
        images = self._open((LFW,))
        columns = {column: np.array(images.column(column)) for column, *_ in WORDS["lfw"].values()}
        embedded, labels = self._images(images), quantile_labels(columns)[images.test]
        return [attributes(embedded, labels, self.texts), groups(embedded, labels, self.texts)]

    @torch.no_grad()
    def _images(self, images: ImageSet, batch: int = 32) -> Tensor:
        """Embeddings of the measured rows, `[N, D]` at unit length; the images of a file are of one size."""
        rows, embedded = self._rows(images), []
        for start in tqdm(range(0, len(rows), batch), desc="embeddings"):
            arrays = [np.asarray(images.decode(row)) for row in rows[start : start + batch]]
            pixels = torch.from_numpy(np.stack(arrays)).movedim(-1, 1) / 255
            embedded.append(embed_images(self.model, self.image_processor, pixels))
        return torch.cat(embedded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINTS / ENCODER, help="folder of the encoder")
    parser.add_argument("--held-out", type=float, default=0.0, help="share of the training rows that a run left out")
    parser.add_argument("--output", type=Path, help="JSON file for the report")
    args = parser.parse_args()
    tables = Measurement(args.data, args.checkpoint, args.held_out).tables()
    print("\n\n".join(markdown(table) for table in tables))
    if args.output:
        names = [*SCENES, CELEBA, *FLOWERS_AND_CLOTHING] + ([] if args.held_out else [LFW])
        files, weights = [args.data / f"{name}.parquet" for name in names], [args.checkpoint / "model.safetensors"]
        command = "python -m training.evaluate_clip --data DIR" + (
            f" --held-out {args.held_out:g}" if args.held_out else ""
        )
        write_report(args.output, ENCODER, tables, weights, files, command)


if __name__ == "__main__":
    main()

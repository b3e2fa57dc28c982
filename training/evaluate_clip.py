"""Measures a dual encoder on the test rows of the card's data sets.

python -m training.evaluate_clip --data DIR --checkpoint runs/encoder/encoder --output report.json
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from textir_hf.evaluation.tables import Cell, Table, markdown, write_report
from textir_hf.models.embedding import CHECKPOINTS, ENCODER, embed_texts, load_encoder
from training.clip_data import ImageSet, recalls
from training.clip_words import COLORS, FACE_NAMES, WORDS, color_labels

Embed = Callable[..., Tensor]  # sentences -> [N, D] at unit length
SCENES, CELEBA, LFW, OBJECTS = "flickr8k_176", "faces_celeba_89", "faces_lfw_112", ("flowers_176", "clothing_176")
LFW_NAMES = list(WORDS["lfw"])
AGAINST = {"blond_hair": "black_hair"}  # attribute: the one it is told from; faces with both or neither are left out


def retrieval(images: Tensor, texts: list[list[str]], embed: Embed) -> Table:
    """`recalls` of images `[N, D]` with the captions of each."""
    owners = torch.tensor([i for i, several in enumerate(texts) for _ in several])
    found = recalls(images, torch.cat([embed(*several) for several in texts]), owners)
    rows = {f"text to image {name}": [Cell(share)] for name, share in found.items()}
    return Table(f"Flickr8k test, {len(texts)} images, {len(owners)} captions", ["measured (%)"], rows, 1)


def lfw_labels(columns: dict[str, list[float]]) -> np.ndarray:
    """Labels `[N, len(LFW_NAMES)]` from probabilities of a weak classifier, whose ranking alone is good."""
    labels = []
    for column, true_share, false_share in WORDS["lfw"].values():
        low, high = np.quantile(columns[column], [false_share, 1 - true_share])
        labels.append(np.where(columns[column] >= high, 1, np.where(columns[column] <= low, -1, 0)))
    return np.stack(labels, 1)


def _area(label: np.ndarray, score: np.ndarray, rows: np.ndarray, least: int = 1) -> Cell:
    """Area under the curve over some rows; empty where either side has fewer than `least` of them."""
    true = label[rows] > 0
    return Cell(float(roc_auc_score(true, score[rows])) if min(true.sum(), (~true).sum()) >= least else None)


def attributes(images: Tensor, labels: np.ndarray, embed: Embed, least: int = 8) -> list[Table]:
    """A prompt against its contrary, by how much nearer a face is to it: for all faces, and by sex and age.

    All faces count once where they are clearly labeled, and once with all unclear ones called false.
    """
    male, young = (labels[:, LFW_NAMES.index(n)] for n in ("male", "young"))
    parts = {"women": male < 0, "men": male > 0, "young": young > 0, "old": young < 0}
    together, apart = {}, {}
    for attribute, prompts in WORDS["prompts"].items():
        name, label = attribute.replace("_", " "), labels[:, LFW_NAMES.index(attribute)]
        first, second = (images @ embed(*prompts).T).T.numpy()
        score, clear = first - second, label != 0
        together[name] = [_area(label, score, rows) for rows in (clear, clear | True)]
        apart[name] = [_area(label, score, part & clear, least) for part in parts.values()]
    together["mean of all"] = [Cell(float(np.mean([c[i].mean for c in together.values()]))) for i in range(2)]
    columns = ["labeled true or false", "all others called false"]
    title = f"LFW test by group, AUC of those labeled true or false, {least} of each at least"
    return [
        Table(f"LFW test, {len(labels)} faces, AUC", columns, together),
        Table(title, [f"{name} ({part.sum()})" for name, part in parts.items()], apart),
    ]


def colors(images: Tensor, labels: np.ndarray, embed: Embed) -> Table:
    """A color word against no color word, on the images that clearly have or lack the color (`labels` `[N, 10]`)."""
    rows, neutral = {}, embed("a flower", "a piece of clothing").mean(0)
    for word, label in zip(COLORS, labels.T, strict=True):
        prompt = embed(f"a {word} flower", f"a {word} piece of clothing").mean(0)
        name = f"{word} ({(label > 0).sum()} true, {(label < 0).sum()} false)"
        rows[name] = [_area(label, (images @ (prompt - neutral)).numpy(), label != 0)]
    return Table(f"flowers and clothing test, {len(labels)} images, AUC", ["measured"], rows)


def choices(images: Tensor, labels: np.ndarray, embed: Embed) -> Table:
    """Right choices between two sentences on faces labeled by people; both sides weigh the same.

    `labels` are `[N, len(FACE_NAMES)]` in {-1, 1}. A row is empty where no face has one of the sides.
    """
    rows = {}
    for name, sentences in WORDS["choices"].items():
        label = labels[:, FACE_NAMES.index(name)]
        if name in AGAINST:
            label = np.where(label == labels[:, FACE_NAMES.index(AGAINST[name])], 0, label)
        first, second = (images @ embed(*sentences).T).T.numpy()
        cells = [Cell(), Cell(), Cell()]
        if (label > 0).any() and (label < 0).any():
            shares = 100 * np.mean((first > second)[label > 0]), 100 * np.mean((first <= second)[label < 0])
            cells = [Cell(float(share)) for share in (np.mean(shares), *shares)]
        rows[name.replace("_", " ")] = cells
    measured = [[cell.mean for cell in cells] for cells in rows.values() if cells[0].mean is not None]
    rows["mean of all"] = [Cell(float(mean)) for mean in np.mean(measured, 0)]
    columns = ["balanced accuracy (%)", "first sentence true", "second true"]
    return Table(f"CelebA test, {len(labels)} faces, the nearer of two sentences", columns, rows, 1)


def paraphrases(embed: Embed) -> Table:
    """How often a sentence is nearer to its paraphrase than to its contrary."""
    given, same, contrary = (embed(*several) for several in zip(*WORDS["paraphrases"], strict=True))
    near, far = (given * same).sum(1), (given * contrary).sum(1)
    rows = {"nearer to the paraphrase (%)": [Cell(100 * (near > far).float().mean().item())]}
    rows |= {f"similarity to the {n}": [Cell(x.mean().item())] for n, x in (("paraphrase", near), ("contrary", far))}
    return Table(f"{len(near)} sentences, text to text", ["measured"], rows)


@torch.no_grad()
def measure(data: Path, checkpoint: Path) -> list[Table]:
    """All tables of an encoder."""
    model, tokenizer, processor = load_encoder(checkpoint)
    scenes, celeba, lfw = (ImageSet([str(data / f"{name}.parquet")]) for name in (SCENES, CELEBA, LFW))
    objects = ImageSet([str(data / f"{name}.parquet") for name in OBJECTS])

    def texts(*sentences: str) -> Tensor:
        return embed_texts(model, tokenizer, list(sentences))

    def images(rows: ImageSet) -> Tensor:
        return rows.embed(rows.test, model, processor)

    captions, kinds = scenes.column("text"), objects.column("label")
    of_lfw = lfw_labels({column: lfw.column(column) for column, *_ in WORDS["lfw"].values()})[lfw.test]
    of_objects = np.stack([color_labels(np.asarray(objects.decode(row)), kinds[row]) for row in objects.test])
    return [
        retrieval(images(scenes), [captions[row] for row in scenes.test], texts),
        *attributes(images(lfw), of_lfw, texts),
        colors(images(objects), of_objects, texts),
        choices(images(celeba), celeba.face_labels().numpy()[celeba.test], texts),
        paraphrases(texts),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINTS / ENCODER, help="folder of the encoder")
    parser.add_argument("--output", type=Path, help="JSON file for the report")
    args = parser.parse_args()
    tables = measure(args.data, args.checkpoint)
    print("\n\n".join(markdown(table) for table in tables))
    if args.output:
        files = [args.data / f"{name}.parquet" for name in (SCENES, CELEBA, *OBJECTS, LFW)]
        weights = [args.checkpoint / "model.safetensors"]
        write_report(args.output, ENCODER, tables, weights, files, "python -m training.evaluate_clip --data DIR")


if __name__ == "__main__":
    main()

"""Measures a dual encoder on the test rows of the card's data sets.

python -m training.evaluate_clip --data DIR --checkpoint runs/encoder/encoder --output report.json
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from textir_hf.evaluation.tables import Cell, Table, markdown, write_report
from textir_hf.models.embedding import CHECKPOINTS, ENCODER, embed_images, embed_texts, load_encoder
from training.clip_data import ImageSet, recalls
from training.clip_words import COLORS, FACE_NAMES, WORDS, color_labels, quantile_labels

Embed = Callable[..., Tensor]  # sentences -> [N, D] at unit length
SCENES, CELEBA, LFW, OBJECTS = "flickr8k_176", "faces_celeba_89", "faces_lfw_112", ("flowers_176", "clothing_176")
LFW_NAMES = list(WORDS["lfw"])
PROMPTS, CHOICES, PARAPHRASES = (WORDS[name] for name in ("prompts", "choices", "paraphrases"))
AGAINST = {"blond_hair": "black_hair"}  # attribute: the one it is told from; faces with both or neither are left out


def retrieval(images: Tensor, texts: list[list[str]], embed: Embed) -> Table:
    """`recalls` of images `[N, D]` with the captions of each."""
    owners = torch.tensor([i for i, several in enumerate(texts) for _ in several])
    found = recalls(images, torch.cat([embed(*several) for several in texts]), owners)
    rows = {f"text to image {name}": [Cell(share)] for name, share in found.items()}
    return Table(f"Flickr8k test, {len(texts)} images, {len(owners)} captions", ["measured (%)"], rows, 1)


def _prompted(images: Tensor, labels: np.ndarray, embed: Embed) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each attribute: its name, the labels, and how much nearer each image is to the prompt than to its contrary."""
    for name, prompts in PROMPTS.items():
        first, second = (images @ embed(*prompts).T).T.numpy()
        yield name.replace("_", " "), labels[:, LFW_NAMES.index(name)], first - second


def _area(label: np.ndarray, score: np.ndarray, rows: np.ndarray) -> float:
    return float(roc_auc_score(label[rows] > 0, score[rows]))


def attributes(images: Tensor, labels: np.ndarray, embed: Embed) -> Table:
    """A prompt against its contrary; once on the clearly labeled faces, once with all unclear ones called false."""
    rows: dict[str, list[Cell]] = {}
    for name, label, score in _prompted(images, labels, embed):
        rows[name] = [Cell(_area(label, score, label != 0)), Cell(_area(label, score, np.ones(len(label), bool)))]
    rows["mean of all"] = [Cell(float(np.mean([cells[i].mean for cells in rows.values()]))) for i in range(2)]
    columns = ["labeled true or false", "all others called false"]
    return Table(f"LFW test, {len(labels)} faces, AUC", columns, rows)


def groups(images: Tensor, labels: np.ndarray, embed: Embed, least: int = 8) -> Table:
    """The clearly labeled faces of `attributes` by sex and age; empty where either side has fewer than `least`."""
    male, young = (labels[:, LFW_NAMES.index(n)] for n in ("male", "young"))
    parts = {"women": male < 0, "men": male > 0, "young": young > 0, "old": young < 0}
    rows: dict[str, list[Cell]] = {}
    for name, label, score in _prompted(images, labels, embed):
        rows[name] = []
        for part in parts.values():
            enough = min((label[part] > 0).sum(), (label[part] < 0).sum()) >= least
            rows[name].append(Cell(_area(label, score, part & (label != 0)) if enough else None))
    title = f"LFW test by group, AUC of those labeled true or false, {least} of each at least"
    return Table(title, [f"{name} ({part.sum()})" for name, part in parts.items()], rows)


def colors(images: Tensor, labels: np.ndarray, embed: Embed) -> Table:
    """A color word against no color word, on the images that clearly have or lack the color (`labels` `[N, 10]`)."""
    rows: dict[str, list[Cell]] = {}
    neutral = embed("a flower", "a piece of clothing").mean(0)
    for i, word in enumerate(COLORS):
        prompt = embed(f"a {word} flower", f"a {word} piece of clothing").mean(0)
        true, false, score = labels[:, i] > 0, labels[:, i] < 0, (images @ (prompt - neutral)).numpy()
        area = _area(labels[:, i], score, true | false) if true.any() and false.any() else None
        rows[f"{word} ({true.sum()} true, {false.sum()} false)"] = [Cell(area)]
    return Table(f"flowers and clothing test, {len(labels)} images, AUC", ["measured"], rows)


def choices(images: Tensor, labels: np.ndarray, embed: Embed) -> Table:
    """Right choices between two sentences on faces labeled by people; both sides weigh the same.

    `labels` are `[N, len(FACE_NAMES)]` in {-1, 1}. A row is empty where no face has one of the sides.
    """
    rows: dict[str, list[Cell]] = {}
    for name, sentences in CHOICES.items():
        label = labels[:, FACE_NAMES.index(name)]
        if name in AGAINST:
            label = np.where(label == labels[:, FACE_NAMES.index(AGAINST[name])], 0, label)
        first, second = (images @ embed(*sentences).T).T.numpy()
        cells = [Cell(), Cell(), Cell()]
        if (label > 0).any() and (label < 0).any():
            shares = [100 * np.mean((first > second)[label == side] == (side > 0)) for side in (1, -1)]
            cells = [Cell(float(share)) for share in (np.mean(shares), *shares)]
        rows[name.replace("_", " ")] = cells
    measured = np.array([[cell.mean for cell in cells] for cells in rows.values() if cells[0].mean is not None])
    rows["mean of all"] = [Cell(float(mean)) for mean in measured.mean(0)]
    columns = ["balanced accuracy (%)", "first sentence true", "second true"]
    return Table(f"CelebA test, {len(labels)} faces, the nearer of two sentences", columns, rows, 1)


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


def measure(data: Path, checkpoint: Path) -> list[Table]:
    """All tables of an encoder."""
    model, tokenizer, processor = load_encoder(checkpoint)
    scenes, celeba, lfw = (ImageSet([str(data / f"{name}.parquet")]) for name in (SCENES, CELEBA, LFW))
    objects = ImageSet([str(data / f"{name}.parquet") for name in OBJECTS])

    @torch.no_grad()
    def texts(*sentences: str) -> Tensor:
        return embed_texts(model, tokenizer, list(sentences))

    @torch.no_grad()
    def pictures(images: ImageSet) -> Tensor:
        embedded = []
        for row in tqdm(images.test, desc="embeddings"):
            pixels = torch.from_numpy(np.array(images.decode(row))).movedim(-1, 0)[None] / 255
            embedded.append(embed_images(model, processor, pixels))
        return torch.cat(embedded)

    captions, kinds = scenes.column("text"), objects.column("label")
    tables = [retrieval(pictures(scenes), [captions[row] for row in scenes.test], texts)]
    columns = {column: np.array(lfw.column(column)) for column, *_ in WORDS["lfw"].values()}
    faces, labels = pictures(lfw), quantile_labels(columns)[lfw.test]
    tables += [attributes(faces, labels, texts), groups(faces, labels, texts)]
    labels = np.stack([color_labels(np.asarray(objects.decode(row)), kinds[row]) for row in objects.test])
    tables.append(colors(pictures(objects), labels, texts))
    tables.append(choices(pictures(celeba), celeba.face_labels().numpy()[celeba.test], texts))
    return [*tables, paraphrases(texts)]


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

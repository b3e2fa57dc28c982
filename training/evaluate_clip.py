"""The tables of `python -m training.train_clip evaluate`; `embed` maps sentences to `[N, D]` at unit length."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from textir_hf.evaluation.tables import Cell, Table
from training import captions

PROMPTS = {  # attribute: what is true, what is not
    "smiling": ("a smiling person", "a serious person"),
    "eyeglasses": ("a person with glasses", "a person with no glasses"),
    "blond_hair": ("a person with blond hair", "a person with black hair"),
    "gray_hair": ("a person with gray hair", "a person with brown hair"),
    "young": ("a young person", "an old person"),
    "male": ("a man", "a woman"),
    "black_hair": ("a person with black hair", "a person with blond hair"),
    "bald": ("a person with a bald head", "a person with bangs"),
    "mustache": ("a man with a mustache", "a man with a clean-shaven face"),
    "hat": ("a person with a hat", "a person"),
    "lipstick": ("a woman with lipstick", "a woman"),
    "bangs": ("a person with bangs", "a person"),
}


def retrieval(images: Tensor, texts: list[list[str]], embed) -> Table:
    """Share of captions whose own image is among the first k: `images` `[N, D]`, and N lists of captions."""
    owner = torch.tensor([i for i, several in enumerate(texts) for _ in several])
    scores = torch.cat([embed(*several) for several in texts]) @ images.T
    rank = (scores > scores.gather(1, owner[:, None])).sum(1)
    rows = {f"text to image R@{k}": [Cell(100 * (rank < k).float().mean().item())] for k in (1, 5, 10)}
    return Table(f"Flickr8k test, {len(texts)} images, {len(owner)} captions", ["measured (%)"], rows, 1)


def attributes(images: Tensor, labels: np.ndarray, embed) -> Table:
    """A prompt against its contrary; once on the clearly labeled faces, once with all unclear ones called false."""
    rows = {}
    for name, prompts in PROMPTS.items():
        pair = (images @ embed(*prompts).T).numpy()
        label, score = labels[:, list(captions.FACE_ATTRIBUTES).index(name)], pair[:, 0] - pair[:, 1]
        known = label != 0
        clear, strict = roc_auc_score(label[known] > 0, score[known]), roc_auc_score(label > 0, score)
        rows[name.replace("_", " ")] = [Cell(float(clear)), Cell(float(strict))]
    rows["mean of all"] = [Cell(float(np.mean([cells[i].mean for cells in rows.values()]))) for i in range(2)]
    columns = ["labeled true or false", "all others called false"]
    return Table(f"LFW test, {len(labels)} faces, AUC", columns, rows)


def groups(images: Tensor, labels: np.ndarray, embed, least: int = 8) -> Table:
    """The clearly labeled faces of `attributes` by sex and age; empty where either side has fewer than `least`."""
    names = list(captions.FACE_ATTRIBUTES)
    male, young = (labels[:, names.index(n)] for n in ("male", "young"))
    parts = {"women": male < 0, "men": male > 0, "young": young > 0, "old": young < 0}
    rows = {}
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


def colors(images: Tensor, labels: np.ndarray, embed) -> Table:
    """A color word against no color word, on the images that clearly have or lack the color."""
    rows = {}
    neutral = embed("a flower", "a piece of clothing").mean(0)
    for i, word in enumerate(captions.COLORS):
        prompt = embed(f"a {word} flower", f"a {word} piece of clothing").mean(0)
        true, false = labels[:, i] > 0, labels[:, i] < 0
        score = (images @ (prompt - neutral)).numpy()
        auc = roc_auc_score(true[true | false], score[true | false])
        rows[f"{word} ({true.sum()} true, {false.sum()} false)"] = [Cell(float(auc))]
    return Table(f"flowers and clothing test, {len(labels)} images, AUC", ["measured"], rows)

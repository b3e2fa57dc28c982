"""The tables of `python -m training.train_clip evaluate`; `embed` maps sentences to `[N, D]` at unit length."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

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


def print_retrieval(images: Tensor, texts: list[list[str]], embed) -> None:
    """Share of captions whose own image is among the first k: `images` `[N, D]`, and N lists of captions."""
    owner = torch.tensor([i for i, several in enumerate(texts) for _ in several])
    scores = torch.cat([embed(*several) for several in texts]) @ images.T
    rank = (scores > scores.gather(1, owner[:, None])).sum(1)
    print(f"| Flickr8k test, {len(texts)} images, {len(owner)} captions | measured | bar |\n|---|---|---|")
    for k, bar in ((1, 18), (5, 43), (10, 55)):
        print(f"| text to image R@{k} | {100 * (rank < k).float().mean():.1f} % | > {bar} % |")


def print_attributes(images: Tensor, labels: np.ndarray, embed) -> None:
    """A prompt against its contrary; once on the clearly labelled faces, once with all unclear ones called false."""
    bars = {"smiling": 0.85, "eyeglasses": 0.87, "blond_hair": 0.92, "gray_hair": 0.85, "young": 0.88}
    print(f"\n| LFW test, {len(labels)} faces, AUC | labelled true or false | all others called false | bar |")
    print("|---|---|---|---|")
    means = []
    for name, prompts in PROMPTS.items():
        pair = (images @ embed(*prompts).T).numpy()
        label, score = labels[:, list(captions.FACE_ATTRIBUTES).index(name)], pair[:, 0] - pair[:, 1]
        known = label != 0
        clear, strict = roc_auc_score(label[known] > 0, score[known]), roc_auc_score(label > 0, score)
        means.append((clear, strict))
        bar = f"> {bars[name]}" if name in bars else ""
        print(f"| {name.replace('_', ' ')} | {clear:.3f} | {strict:.3f} | {bar} |")
    print(f"| mean | {np.mean([m[0] for m in means]):.3f} | {np.mean([m[1] for m in means]):.3f} | |")


def print_colors(images: Tensor, labels: np.ndarray, embed) -> None:
    """A colour word against no colour word, on the pictures that clearly have or lack the colour."""
    print(f"\n| flowers and clothing test, {len(labels)} pictures, AUC | measured | true / false | bar |")
    print("|---|---|---|---|")
    neutral = embed("a flower", "a piece of clothing").mean(0)
    for i, word in enumerate(captions.COLORS):
        prompt = embed(f"a {word} flower", f"a {word} piece of clothing").mean(0)
        true, false = labels[:, i] > 0, labels[:, i] < 0
        score = (images @ (prompt - neutral)).numpy()
        auc = roc_auc_score(true[true | false], score[true | false])
        print(f"| {word} | {auc:.3f} | {true.sum()} / {false.sum()} | >= 0.85 |")

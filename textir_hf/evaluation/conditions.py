"""The conditions under which a checkpoint restores the images of a test set."""

import random

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf import TextIRPipeline
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Protocol
from textir_hf.models.embedding import embed_texts

OURS = ("ours, right prompt", "ours, shuffled prompt", "ours, empty prompt", "ours, image embedding")


class Conditions:
    """Embeddings of images and sentences, as the checkpoint takes them.

    Attributes:
        images: `[N, D]` at unit length, of the originals.
        sentences: The right ones of every image.
        texts: `[N, D]`, their mean embeddings, not recentered.
        shuffled: For every image, the number of another one, whose sentences are the shuffled prompt.
        contrasts: `[2, D]` by name, the conditions of a contrast's sentences.
        axes: `[D]` by name; embeddings nearer to the first sentence have a positive product with it.
    """

    @torch.no_grad()
    def __init__(self, pipe: TextIRPipeline, protocol: Protocol, test_set: TestSet, images: Tensor) -> None:
        self.pipe, self.images = pipe, images
        self.sentences = self._right_sentences(protocol, test_set)
        self.texts = torch.stack([F.normalize(self._embed(s).mean(0), dim=0) for s in self.sentences])
        self.shuffled = _shuffle(self.sentences)
        self._right = pipe.encode_prompt(self.sentences).cpu()
        empty = self._embed([""])  # encode_prompt takes no empty sentence
        if pipe.recentering is not None:
            empty = pipe.recentering(empty.to(pipe.recentering.device)).float().cpu()
        self._empty = empty[0]
        self.contrasts = {c.name: pipe.encode_prompt(list(c.prompts)).cpu() for c in protocol.contrasts}
        pairs = {c.name: self._embed(list(c.prompts)) for c in protocol.contrasts}
        self.axes = {name: first - second for name, (first, second) in pairs.items()}

    def of(self, index: int) -> Tensor:
        """The conditions of an image in the order of `OURS`: `[4, D]`."""
        right = self._right
        return torch.stack([right[index], right[self.shuffled[index]], self._empty, self.images[index]])

    def _right_sentences(self, protocol: Protocol, test_set: TestSet) -> list[list[str]]:
        """Captions; or the candidate that is nearest to the image."""
        embedded = {file: self._embed(list(texts)) for file, texts in protocol.candidates.items()}
        sentences = []
        for i, image in enumerate(self.images):
            file = test_set.file(i)
            if file in embedded:
                sentences.append([protocol.candidates[file][int((embedded[file] @ image).argmax())]])
            else:
                sentences.append(test_set.captions(i))
        return sentences

    def _embed(self, sentences: list[str]) -> Tensor:
        return embed_texts(self.pipe.clip, self.pipe.tokenizer, sentences).cpu()


def _shuffle(sentences: list[list[str]]) -> list[int]:
    """Another image for every image, with other sentences where possible."""
    count = len(sentences)
    order = list(range(count))
    random.Random(0).shuffle(order)
    shuffled = [0] * count
    for place, i in enumerate(order):
        following = [order[(place + k) % count] for k in range(1, count)]
        shuffled[i] = next((j for j in following if sentences[j] != sentences[i]), following[0])
    return shuffled

"""The conditions under which a checkpoint restores the images of a test set."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf import TextIRPipeline
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Protocol
from textir_hf.models.embedding import embed_texts

OURS = ("ours, right prompt", "ours, shuffled prompt", "ours, empty prompt", "ours, image embedding")


class Conditions:
    """Embeddings of images and sentences, as the checkpoint takes them."""

    @torch.no_grad()
    def __init__(self, pipe: TextIRPipeline, protocol: Protocol, test_set: TestSet, images: Tensor) -> None:
        self.pipe, self.images = pipe, images  # [N, D] at unit length, of the originals
        self.sentences = self._right_sentences(protocol, test_set)  # of every image
        # [N, D], their mean embeddings, not recentered
        self.texts = torch.stack([F.normalize(self._embed(s).mean(0), dim=0) for s in self.sentences])
        self.shuffled = _shuffle(self.sentences)  # numbers of the images whose sentences are the shuffled prompts
        self._right = pipe.encode_prompt(self.sentences).cpu()
        empty = self._embed([""])  # encode_prompt takes no empty sentence
        if pipe.recentering is not None:
            empty = pipe.recentering(empty.to(pipe.recentering.device)).float().cpu()
        self._empty = empty[0]
        # [2, D] by name, the conditions of a contrast's sentences
        self.contrasts = {c.name: pipe.encode_prompt(list(c.prompts)).cpu() for c in protocol.contrasts}
        # [D] by name; embeddings nearer to the first sentence have a positive product with it
        self.axes = {c.name: torch.sub(*self._embed(c.prompts)) for c in protocol.contrasts}

    def of(self, index: int) -> Tensor:
        """The conditions of an image in the order of `OURS`: `[4, D]`."""
        right = self._right
        return torch.stack([right[index], right[self.shuffled[index]], self._empty, self.images[index]])

    def _right_sentences(self, protocol: Protocol, test_set: TestSet) -> list[list[str]]:
        """Captions; or the candidate that is nearest to the image."""
        embedded = {file: self._embed(texts) for file, texts in protocol.candidates.items()}
        sentences = [test_set.captions(i) for i in range(len(test_set))]
        for i, image in enumerate(self.images):
            if (file := test_set.test[i].file) in embedded:
                sentences[i] = [protocol.candidates[file][int((embedded[file] @ image).argmax())]]
        return sentences

    def _embed(self, sentences: Sequence[str]) -> Tensor:
        return embed_texts(self.pipe.clip, self.pipe.tokenizer, list(sentences)).cpu()


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

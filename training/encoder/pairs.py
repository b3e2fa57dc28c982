"""Pairs of sentences that differ in one fact, and the images that they can be asked of.

A fact is an attribute with a side: 1, the image has it, or -1, it has not. A label is 1, -1, or 0 for not known.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Facts = dict[str, int]


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one attribute.

    Args:
        attribute: What they differ in.
        texts: The sentences.
        facts: Of the images that each is the right answer for.
        bare: The second leaves the attribute out, as in "a woman with lipstick" and "a woman". It is then true of every
            woman, but nearer than the first to those without lipstick.
    """

    attribute: str
    texts: tuple[str, str]
    facts: tuple[Facts, Facts]
    bare: bool = False

    @property
    def statements(self) -> tuple[Facts, Facts]:
        """The facts that each sentence states."""
        first, second = self.facts
        return first, {k: v for k, v in second.items() if k != self.attribute} if self.bare else second


def to_matrix(facts: list[Facts], names: tuple[str, ...]) -> Tensor:
    """Facts as rows: `[len(facts), len(names)]` int8 in {-1, 0, 1}, 0 where nothing is stated."""
    matrix = np.zeros((len(facts), len(names)), np.int8)
    for row, stated in zip(matrix, facts, strict=True):
        for name, side in stated.items():
            row[names.index(name)] = side
    return torch.from_numpy(matrix)


def relation(labels: Tensor, statements: Tensor) -> Tensor:
    """Whether each statement is true of each image.

    Args:
        labels: `[N, A]` in {-1, 0, 1}.
        statements: `[M, A]` in {-1, 0, 1}, 0 where nothing is stated.

    Returns:
        `[N, M]`: 1 true, -1 false (at least one fact is), 0 not known.
    """
    labels, statements = labels.float(), statements.float()
    agreement = labels @ statements.T
    known = labels.abs() @ statements.abs().T
    length = statements.abs().sum(1)
    return (agreement == length).float() - (agreement < known).float()

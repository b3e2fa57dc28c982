"""Cuts a WordPiece vocabulary to the pieces that English descriptions can need."""

import re
import string
import unicodedata
from collections.abc import Iterable

import torch
from PIL import ImageColor
from torch import Tensor
from transformers import BertTokenizerFast

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_RARE = 26_000  # BERT's pieces are in the order of their frequency; the last 4,500 are mostly names


def is_useful(piece: str, row: int, words: set[str]) -> bool:
    """Whether a piece is kept.

    Args:
        piece: Of the vocabulary; a leading "##" marks the middle of a word.
        row: Its place there, frequent pieces first.
        words: Kept however rare they are.
    """
    word = piece.removeprefix("##")
    if piece in _SPECIAL:
        return True
    if len(word) == 1:  # letters, digits and marks, so that nothing becomes unknown
        return word.isascii() or unicodedata.category(word)[0] in "PS"
    if not word.isascii():
        return False
    if word.isdigit():  # two digits at a time spell longer numbers
        return len(word) == 2
    return word.isalpha() and (row < _RARE or piece in words)


def words_of(sentences: Iterable[str]) -> set[str]:
    """The words of sentences and the names of colors."""
    return {w for s in (*sentences, *ImageColor.colormap) for w in re.findall("[a-z]+", s.lower())}


def trim(tokenizer: BertTokenizerFast, embeddings: Tensor, words: set[str]) -> tuple[BertTokenizerFast, Tensor]:
    """Keeps the useful pieces of a tokenizer, and their rows of the word embeddings.

    Args:
        tokenizer: Lower-casing WordPiece tokenizer in BERT's order.
        embeddings: `[V, D]`, one row a piece.
        words: Kept however rare they are.

    Raises:
        ValueError: A letter or a digit has no piece, so that a word might become unknown.
    """
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    kept = [(piece, row) for piece, row in pieces if is_useful(piece, row, words)]
    vocabulary = {piece: new for new, (piece, _) in enumerate(kept)}
    characters = string.ascii_lowercase + string.digits
    missing = [p for c in characters for p in (c, f"##{c}") if p not in vocabulary]
    if missing:
        raise ValueError(f"The vocabulary has no piece for {' '.join(missing)}; use a full WordPiece vocabulary.")
    small = BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=tokenizer.model_max_length)
    return small, embeddings[torch.tensor([row for _, row in kept])]

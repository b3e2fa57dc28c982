"""The sentences of a run, by number: the text tower's features of them stay as they are, its head learns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.towers import TextTower

TokenIds = Sequence[Sequence[int]]


class FrozenTexts(nn.Module):
    """The head of the text tower over the features of every sentence.

    Args:
        tower: Text tower; its BERT does not learn.
        features: `[N, hidden]`, what `tower.features` gives for each sentence.
    """

    features: Tensor

    def __init__(self, tower: TextTower, features: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.tower.bert.requires_grad_(False)
        self.register_buffer("features", features, persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:  # [N] -> [N, projection_dim], unit length
        features = self.features[numbers.to(self.features.device)]
        return F.normalize(self.tower.pool(features.float()).float(), dim=-1)


def tower_features(tower: TextTower, token_ids: TokenIds) -> Tensor:
    """The tower's features `[N, hidden]` of sentences of any length, on its device."""
    device = next(tower.parameters()).device
    tokens = nn.utils.rnn.pad_sequence([torch.as_tensor(ids) for ids in token_ids], batch_first=True)
    lengths = torch.tensor([len(ids) for ids in token_ids])
    mask = (torch.arange(tokens.shape[1])[None] < lengths[:, None]).long()
    with torch.autocast(device.type, torch.bfloat16):
        return tower.features(tokens.to(device), mask.to(device)).float()


@torch.no_grad()
def all_features(tower: TextTower, token_ids: TokenIds, batch: int = 128) -> Tensor:
    """`tower_features` of many sentences, `[N, hidden]` fp16; equal sentences are computed once."""
    tower.eval()
    first = {tuple(ids): i for i, ids in reversed(list(enumerate(token_ids)))}
    order = sorted(first.values(), key=lambda i: len(token_ids[i]))
    features = torch.zeros(len(token_ids), tower.bert.config.hidden_size, dtype=torch.float16)
    for rows in (order[i : i + batch] for i in range(0, len(order), batch)):
        features[rows] = tower_features(tower, [token_ids[i] for i in rows]).half().cpu()
    return features[[first[tuple(ids)] for ids in token_ids]]

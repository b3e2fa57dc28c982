"""The two towers of the embedded dual encoder.

Image tower: EfficientNet-Lite0 seen at five scales on one coarse grid, pooled by attention. Text tower: a six-layer
BERT, mean-pooled. Both end in the same `projection_dim`-dimensional space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

# EfficientNet-Lite0 (Tan & Le, 2019; the "lite" variant has no squeeze-excitation and clips at 6):
# repeats, kernel, stride, expansion, output channels.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_GRID_STAGES = (0, 1, 2, 4, 6)
_GRID_CHANNELS = sum(LITE0_STAGES[i][4] for i in _GRID_STAGES)
_HEAD_CHANNELS = 1280


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (MobileNetV2), batch norms folded into the convolutions."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.expand is None else F.relu6(self.expand(x))
        h = self.project(F.relu6(self.depthwise(h)))
        return x + h if self.residual else h


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier, as a list of the seven stages' outputs and the last 1x1 layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 32, 3, 2)
        self.stages = nn.ModuleList()
        channels = 32
        for repeats, kernel, stride, expansion, out in LITE0_STAGES:
            blocks = [
                InvertedResidual(channels if i == 0 else out, out, kernel, stride if i == 0 else 1, expansion)
                for i in range(repeats)
            ]
            self.stages.append(nn.Sequential(*blocks))
            channels = out
        self.head = nn.Conv2d(channels, _HEAD_CHANNELS, 1)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:  # [N, 3, H, W] -> 7 x [N, C, h, w], [N, 1280, H/32, W/32]
        features = []
        x = F.relu6(self.stem(pixel_values))
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return [*features, F.relu6(self.head(x))]


class QueryAttention(nn.Module):
    """Multi-head attention of queries to places.

    `nn.MultiheadAttention` reads the weight of its `out_proj` without calling it, so hooks that move weights between
    devices cannot follow. This module calls it; parameters have the same names and shapes.

    Args:
        hidden_size: Width of queries, places and output.
        num_heads: Number of heads, a divisor of `hidden_size`.
        dropout: Share of attention weights that training drops.
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, queries: Tensor, places: Tensor) -> Tensor:  # [N, Q, C], [N, P, C] -> [N, Q, C]
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        inputs = (queries, places, places)
        query, keys, values = (
            F.linear(x, w, b).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [N, heads, Q or P, C / heads]
            for x, w, b in zip(inputs, weights, biases, strict=True)
        )
        pooled = F.scaled_dot_product_attention(query, keys, values, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(pooled.transpose(1, 2).flatten(2))


class ImageTower(nn.Module):
    """Five scales of EfficientNet-Lite0 on a `grid` x `grid` map, read out by learned queries.

    Plain average pooling forgets where things are (a smile is a matter of a few pixels around the mouth), so each
    query attends to the places of the grid, every place carrying its position.
    """

    def __init__(self, projection_dim: int, hidden_size: int, num_queries: int, num_heads: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.backbone = EfficientNetLite0()
        self.place = nn.Linear(_GRID_CHANNELS, hidden_size)
        self.place_norm = nn.LayerNorm(hidden_size)
        self.position = nn.Parameter(torch.randn(grid * grid, hidden_size) * 0.02)
        self.queries = nn.Parameter(torch.randn(num_queries, hidden_size) * 0.02)
        self.attention = QueryAttention(hidden_size, num_heads, dropout=0.1)
        self.whole = nn.Linear(_HEAD_CHANNELS, hidden_size)
        self.mlp = nn.Sequential(
            nn.LayerNorm((num_queries + 1) * hidden_size),
            nn.Dropout(0.2),
            nn.Linear((num_queries + 1) * hidden_size, 2 * hidden_size),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(2 * hidden_size, projection_dim),
        )

    def features(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """The backbone's part: `[N, 3, H, W]` to places `[N, grid^2, 512]` and the pooled last layer `[N, 1280]`."""
        return self.places(self.backbone(pixel_values))

    def places(self, stages: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The backbone's feature maps of any size, on the grid; and the last one's mean."""
        places = [F.adaptive_avg_pool2d(stages[i], self.grid) for i in _GRID_STAGES]
        return torch.cat(places, 1).flatten(2).transpose(1, 2), stages[-1].mean((2, 3))

    def states(self, places: Tensor) -> Tensor:  # [N, grid^2, 512] -> [N, grid^2, hidden_size]
        return F.gelu(self.place_norm(self.place(places))) + self.position

    def read(self, states: Tensor, whole: Tensor) -> Tensor:  # and [N, 1280] -> [N, projection_dim]
        pooled = self.attention(self.queries.expand(states.shape[0], -1, -1), states)
        return self.mlp(torch.cat([pooled.flatten(1), self.whole(whole)], 1))

    def pool(self, places: Tensor, whole: Tensor) -> Tensor:  # [N, grid^2, 512], [N, 1280] -> [N, projection_dim]
        return self.read(self.states(places), whole)

    def forward(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """The states of the places, the embedding, and the backbone's eight feature maps."""
        stages = self.backbone(pixel_values)
        places, whole = self.places(stages)
        states = self.states(places)
        return BaseModelOutputWithPooling(states, self.read(states, whole), hidden_states=tuple(stages))


class TextTower(nn.Module):
    """BERT, mean over the tokens at unit length, and a two-layer head."""

    def __init__(self, config: BertConfig, projection_dim: int) -> None:
        super().__init__()
        self.bert = BertModel._from_config(config, add_pooling_layer=False)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, 1024), nn.GELU(), nn.Dropout(0.2), nn.Linear(1024, projection_dim)
        )
        self.skip = nn.Linear(config.hidden_size, projection_dim, bias=False)

    def features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # [N, T] -> [N, hidden]
        return self.states(input_ids, attention_mask).pooler_output

    def states(self, input_ids: Tensor, attention_mask: Tensor | None, **options) -> BaseModelOutputWithPooling:
        """BERT's output, whose `pooler_output` is the mean over the tokens at unit length, `[N, hidden]`."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        output = self.bert(input_ids=input_ids, attention_mask=attention_mask, **options)
        states = output.last_hidden_state  # [N, T, hidden]
        weights = attention_mask.to(states.dtype)[:, :, None]
        mean = F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
        return BaseModelOutputWithPooling(states, mean, output.hidden_states, output.attentions)

    def pool(self, features: Tensor) -> Tensor:  # [N, hidden] -> [N, projection_dim]
        return self.mlp(features) + self.skip(features)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options) -> BaseModelOutputWithPooling:
        """The states of the tokens, the embedding, and what else BERT's `options` ask for."""
        output = self.states(input_ids, attention_mask, **options)
        output.pooler_output = self.pool(output.pooler_output)
        return output

"""The small embedded dual encoder, with the interface of `transformers.CLIPModel`.

Image tower: EfficientNet-Lite0 seen at five scales on one coarse grid, pooled by attention. Text tower: a six-layer
BERT, mean-pooled. Both end in the same `projection_dim`-dimensional space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, BertConfig, BertModel, PretrainedConfig, PreTrainedModel
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
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, dropout=0.1, batch_first=True)
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
        stages = self.backbone(pixel_values)
        places = [F.adaptive_avg_pool2d(stages[i], self.grid) for i in _GRID_STAGES]
        return torch.cat(places, 1).flatten(2).transpose(1, 2), stages[-1].mean((2, 3))

    def pool(self, places: Tensor, whole: Tensor) -> Tensor:  # [N, grid^2, 512], [N, 1280] -> [N, projection_dim]
        x = F.gelu(self.place_norm(self.place(places))) + self.position
        queries = self.queries.expand(len(x), -1, -1)
        pooled, _ = self.attention(queries, x, x, need_weights=False)
        return self.mlp(torch.cat([pooled.flatten(1), self.whole(whole)], 1))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.pool(*self.features(pixel_values))


class TextTower(nn.Module):
    """BERT, mean over the tokens at unit length, and a two-layer head."""

    def __init__(self, config: BertConfig, projection_dim: int) -> None:
        super().__init__()
        self.bert = BertModel(config, add_pooling_layer=False)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, 1024), nn.GELU(), nn.Dropout(0.2), nn.Linear(1024, projection_dim)
        )
        self.skip = nn.Linear(config.hidden_size, projection_dim, bias=False)

    def features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # [N, T] -> [N, hidden]
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # [N, T, hidden]
        weights = attention_mask.to(states.dtype)[:, :, None]
        return F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)

    def pool(self, features: Tensor) -> Tensor:  # [N, hidden] -> [N, projection_dim]
        return self.mlp(features) + self.skip(features)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.pool(self.features(input_ids, attention_mask))


class MiniCLIPConfig(PretrainedConfig):
    """Sizes of a `MiniCLIPModel`.

    Args:
        text_config: The fields of a `BertConfig`.
        projection_dim: Length of the embeddings.
        image_size: Side in pixels of the square images that the image tower takes, a multiple of 32.
        hidden_size: Width of the image tower's pooling.
        num_queries: Learned queries of that pooling.
        num_heads: Attention heads of that pooling.
    """

    model_type = "textir_mini_clip"

    def __init__(
        self,
        text_config: dict | None = None,
        projection_dim: int = 512,
        image_size: int = 192,
        hidden_size: int = 384,
        num_queries: int = 8,
        num_heads: int = 6,
        **kwargs,
    ) -> None:
        self.text_config = text_config or {}
        self.projection_dim = projection_dim
        self.image_size = image_size
        self.hidden_size = hidden_size
        self.num_queries = num_queries
        self.num_heads = num_heads
        super().__init__(**kwargs)


class MiniCLIPModel(PreTrainedModel):
    """The dual encoder: `get_image_features` and `get_text_features` as in `transformers.CLIPModel`.

    Both return an output whose `pooler_output` is `[N, projection_dim]`, not normalized.
    """

    config_class = MiniCLIPConfig
    main_input_name = "pixel_values"

    def __init__(self, config: MiniCLIPConfig) -> None:
        super().__init__(config)
        self.image_tower = ImageTower(
            config.projection_dim, config.hidden_size, config.num_queries, config.num_heads, config.image_size // 32
        )
        self.text_tower = TextTower(BertConfig(**config.text_config), config.projection_dim)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keeps PyTorch's own initialization."""

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """Embeds images.

        Args:
            pixel_values: `[N, 3, image_size, image_size]`, normalized with the processor's mean and deviation.

        Raises:
            ValueError: The images have another size.
        """
        size = self.config.image_size
        if pixel_values.shape[1:] != (3, size, size):
            raise ValueError(
                f"pixel_values must be [N, 3, {size}, {size}], got {list(pixel_values.shape)}. "
                "Use the model's image processor."
            )
        return BaseModelOutputWithPooling(pooler_output=self.image_tower(pixel_values))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutputWithPooling:
        """Embeds tokenized text: `input_ids` and `attention_mask` are `[N, T]`, 1 = token, 0 = padding."""
        return BaseModelOutputWithPooling(pooler_output=self.text_tower(input_ids, attention_mask))

    def forward(self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Cosine similarities times the learned scale, `[images, texts]`."""
        image = F.normalize(self.get_image_features(pixel_values).pooler_output, dim=-1)
        text = F.normalize(self.get_text_features(input_ids, attention_mask).pooler_output, dim=-1)
        return image @ text.T * self.logit_scale.exp()


AutoConfig.register(MiniCLIPConfig.model_type, MiniCLIPConfig, exist_ok=True)

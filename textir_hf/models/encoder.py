"""The small embedded dual encoder, with the interface of `transformers.CLIPModel`.

Image tower: EfficientNet-Lite0 seen at five scales on one coarse grid, pooled by attention. Text tower: a six-layer
BERT, mean-pooled. Both end in the same `projection_dim`-dimensional space.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPProcessor,
    PreTrainedModel,
)
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.clip.modeling_clip import CLIPOutput
from transformers.utils.generic import can_return_tuple

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
            blocks = [InvertedResidual(channels, out, kernel, stride, expansion)]
            blocks += [InvertedResidual(out, out, kernel, 1, expansion) for _ in range(repeats - 1)]
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
        inputs = zip((queries, places, places), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        query, keys, values = (  # [N, heads, Q or P, C / heads]
            F.linear(x, w, b).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x, w, b in inputs
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

    def forward(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:  # [N, 3, H, W]
        """The states of the places `[N, grid^2, hidden_size]` and the embedding `[N, projection_dim]`."""
        stages = self.backbone(pixel_values)
        places = torch.cat([F.adaptive_avg_pool2d(stages[i], self.grid) for i in _GRID_STAGES], 1)
        states = self.place(places.flatten(2).transpose(1, 2))
        states = F.gelu(self.place_norm(states)) + self.position
        pooled = self.attention(self.queries.expand(len(states), -1, -1), states)
        whole = self.whole(stages[-1].mean((2, 3)))
        return BaseModelOutputWithPooling(states, self.mlp(torch.cat([pooled.flatten(1), whole], 1)))


class TextTower(nn.Module):
    """BERT, mean over the tokens at unit length, and a two-layer head."""

    def __init__(self, config: BertConfig, projection_dim: int) -> None:
        super().__init__()
        self.bert = BertModel._from_config(config, add_pooling_layer=False)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, 1024), nn.GELU(), nn.Dropout(0.2), nn.Linear(1024, projection_dim)
        )
        self.skip = nn.Linear(config.hidden_size, projection_dim, bias=False)

    def features(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options):
        """The states of the tokens `[N, T, hidden]`, and their mean at unit length `[N, hidden]`."""
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
        weights = attention_mask.to(states.dtype)[:, :, None]
        return BaseModelOutputWithPooling(states, F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1))

    def pool(self, features: Tensor) -> Tensor:  # [N, hidden] -> [N, projection_dim]
        return self.mlp(features) + self.skip(features)


@strict
class MiniCLIPConfig(PreTrainedConfig):
    """Sizes of a `MiniCLIPModel`.

    Args:
        text_config: A `BertConfig` or its fields.
        projection_dim: Length of the embeddings.
        image_size: Side in pixels of the square images that the image tower takes, a multiple of 32.
        hidden_size: Width of the image tower's pooling.
        num_queries: Learned queries of that pooling.
        num_heads: Attention heads of that pooling.
        logit_scale_init_value: Logarithm of the scale of the similarities before training.
    """

    model_type = "textir_mini_clip"
    sub_configs_defaults = {"text_config": SubConfigSpec(AutoConfig, model_type="bert")}

    text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    image_size: int = 192
    hidden_size: int = 384
    num_queries: int = 8
    num_heads: int = 6
    logit_scale_init_value: float = 3.0

    def validate_architecture(self) -> None:
        """Called by `strict`: sizes have to fit each other, and the text tower has to be BERT's."""
        if self.text_config.model_type != "bert":  # type: ignore[union-attr]
            raise ValueError(f"text_config must be a BertConfig, got {type(self.text_config).__name__}.")
        if self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}.")


class MiniCLIPModel(PreTrainedModel):
    """The dual encoder: the methods, arguments and outputs are those of `transformers.CLIPModel`.

    Embeddings in `pooler_output` are `[N, projection_dim]`, not normalized.
    """

    config_class = MiniCLIPConfig
    base_model_prefix = "clip"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["BertEmbeddings", "BertLayer", "InvertedResidual", "QueryAttention"]

    def __init__(self, config: MiniCLIPConfig) -> None:
        super().__init__(config)
        self.image_tower = ImageTower(
            config.projection_dim, config.hidden_size, config.num_queries, config.num_heads, config.image_size // 32
        )
        self.text_tower = TextTower(config.text_config, config.projection_dim)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves PyTorch's own initialization; a file has all weights, or is refused."""

    @can_return_tuple
    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """Embeds images `[N, 3, image_size, image_size]`, normalized with the processor's mean and deviation.

        Returns:
            `pooler_output` `[N, projection_dim]`; `last_hidden_state` `[N, grid^2, hidden_size]`.
        """
        size = self.config.image_size
        if pixel_values.shape[1:] != (3, size, size):
            raise ValueError(f"pixel_values must be [N, 3, {size}, {size}], got {list(pixel_values.shape)}.")
        return self.image_tower(pixel_values.to(self.dtype))

    @can_return_tuple
    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options):
        """Embeds tokenized text; all arguments are `[N, T]`, options those of `BertModel`.

        Returns:
            `pooler_output` `[N, projection_dim]`; `last_hidden_state` `[N, T, hidden]`, the states of the tokens.
        """
        output = self.text_tower.features(input_ids, attention_mask, **options)
        output.pooler_output = self.text_tower.pool(output.pooler_output)
        return output

    @can_return_tuple
    def forward(
        self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None = None, return_loss=None, **options
    ):
        """Similarities of images and texts; `return_loss` adds the contrastive loss, for which text i is of image i.

        Returns:
            `logits_per_image` `[images, texts]`: cosines times the learned scale; `image_embeds` and `text_embeds` at
            unit length; the outputs of both towers.
        """
        image = self.get_image_features(pixel_values, return_dict=True)
        text = self.get_text_features(input_ids, attention_mask, return_dict=True, **options)
        image_embeds, text_embeds = (F.normalize(output.pooler_output, dim=-1) for output in (image, text))
        logits = text_embeds @ image_embeds.T.to(text_embeds.device) * self.logit_scale.exp().to(text_embeds.device)
        loss = None
        if return_loss:
            pairs = torch.arange(logits.shape[0], device=logits.device)
            loss = (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
        return CLIPOutput(loss, logits.T, logits, text_embeds, image_embeds, text, image)


AutoConfig.register(MiniCLIPConfig.model_type, MiniCLIPConfig)
AutoModel.register(MiniCLIPConfig, MiniCLIPModel)
AutoModelForZeroShotImageClassification.register(MiniCLIPConfig, MiniCLIPModel)
AutoTokenizer.register(MiniCLIPConfig, BertTokenizerFast)
AutoImageProcessor.register(MiniCLIPConfig, image_processor_classes={"pil": CLIPImageProcessorPil})
AutoProcessor.register(MiniCLIPConfig, CLIPProcessor)

"""The small embedded dual encoder, with the interface of `transformers.CLIPModel`.

Image tower: EfficientNet-Lite0 seen at five scales on one coarse grid, pooled by attention. Text tower: a six-layer
BERT, mean-pooled. Both end in the same `projection_dim`-dimensional space.
"""

import warnings
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

CHECKPOINTS = Path(__file__).parent / "checkpoints"
ENCODER = "textir-mini-clip"

# EfficientNet-Lite0 (Tan & Le, 2019; the "lite" variant has no squeeze-excitation and clips at 6):
# repeats, kernel, stride, expansion, output channels.
_LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_GRID_STAGES = (0, 1, 2, 4, 6)
_GRID_CHANNELS = sum(_LITE0_STAGES[i][4] for i in _GRID_STAGES)
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
        for repeats, kernel, stride, expansion, out in _LITE0_STAGES:
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

    Both return an output whose `pooler_output` is `[N, projection_dim]`, not normalised.
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
        """Keeps PyTorch's own initialisation."""

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """Embeds images.

        Args:
            pixel_values: `[N, 3, image_size, image_size]`, normalised with the processor's mean and deviation.

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


class TextRecentering(ModelMixin, ConfigMixin):
    """Moves text embeddings to where the image embeddings lie, closing CLIP's modality gap.

    Text and image embeddings of a contrastive encoder fill two separate cones (Liang et al., 2022), and a generator
    trained on image embeddings (TextIR, Eq. 1) meets at inference a mean it has never seen. With the two means over
    the generator's training domain, `c = normalize(image_mean + scale * (text - text_mean))`.

    Args:
        embedding_dim: Length of the embeddings.
        scale: Ratio of the deviations of image and text embeddings around their means; 1 only shifts.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 512, scale: float = 1.0) -> None:
        super().__init__()
        self.text_mean = nn.Parameter(torch.zeros(embedding_dim), requires_grad=False)
        self.image_mean = nn.Parameter(torch.zeros(embedding_dim), requires_grad=False)

    def forward(self, text_embedding: Tensor) -> Tensor:
        """`[N, D]` at unit length to `[N, D]` at unit length."""
        return F.normalize(self.image_mean + self.config.scale * (text_embedding - self.text_mean), dim=-1)


def load_encoder(name: str | Path, dtype: torch.dtype = torch.float32):
    """A dual encoder, its tokenizer and its image processor.

    Args:
        name: "textir-mini-clip", which is embedded; a folder with a `MiniCLIPModel` or a CLIP model; or a CLIP model on
            the Hub.
        dtype: Of the weights.

    Raises:
        ValueError: It cannot be loaded, or is another kind of model.
    """
    where = CHECKPOINTS / ENCODER if str(name) == ENCODER else name
    try:
        config = AutoConfig.from_pretrained(where)
        if isinstance(config, MiniCLIPConfig):
            model, tokenizer = MiniCLIPModel, BertTokenizerFast
        elif config.model_type == "clip":
            model, tokenizer = CLIPModel, AutoTokenizer
        else:
            raise ValueError(f"its type is {config.model_type}, expected clip")
        return (
            model.from_pretrained(where, dtype=dtype).eval(),
            tokenizer.from_pretrained(where),
            CLIPImageProcessorPil.from_pretrained(where),
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The dual encoder {name} cannot be loaded ({str(error).splitlines()[0]}). Give textir-mini-clip, a "
            "folder, or the name of a CLIP model on the Hub."
        ) from error


def clip_pixel_values(images: Tensor, image_processor) -> Tensor:
    """What an HF CLIP image processor does, on tensors and with gradients: antialiased resize, crop, normalise.

    Args:
        images: `[N, 3, H, W]` in [0, 1].
        image_processor: Gives `size`, `crop_size`, `image_mean` and `image_std`.

    Returns:
        `[N, 3, S, S]`, normalised.
    """
    shortest, crop = image_processor.size["shortest_edge"], image_processor.crop_size["height"]
    height, width = images.shape[-2:]
    ratio = shortest / min(height, width)
    size = (max(round(height * ratio), shortest), max(round(width * ratio), shortest))
    if size != (height, width):
        images = F.interpolate(images.float(), size, mode="bicubic", antialias=True, align_corners=False)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    images = images[..., top : top + crop, left : left + crop].clamp(0, 1)
    mean, std = (images.new_tensor(v)[:, None, None] for v in (image_processor.image_mean, image_processor.image_std))
    return (images - mean) / std


def embed_images(clip: PreTrainedModel, image_processor, images: Tensor) -> Tensor:
    """E_I of TextIR, Eq. 1: `[N, 3, H, W]` in [0, 1] to `[N, D]` at unit length, differentiable in the images."""
    pixel_values = clip_pixel_values(images, image_processor).to(next(clip.parameters()).dtype)
    return F.normalize(clip.get_image_features(pixel_values=pixel_values).pooler_output.float(), dim=-1)


def embed_texts(clip: PreTrainedModel, tokenizer, texts: list[str]) -> Tensor:
    """E_T of TextIR, Eq. 1: sentences to `[N, D]` at unit length.

    Text beyond the tokenizer's limit is cut, with a warning.
    """
    limit = tokenizer.model_max_length
    for text, ids in zip(texts, tokenizer(texts, verbose=False)["input_ids"], strict=True):
        if len(ids) > limit:
            warnings.warn(f"The text has {len(ids)} tokens, all after {limit} are cut: {text[:60]}...", stacklevel=2)
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(clip.device)
    features = clip.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return F.normalize(features.pooler_output.float(), dim=-1)

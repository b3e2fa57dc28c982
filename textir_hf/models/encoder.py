"""The small embedded dual encoder, with the interface of `transformers.CLIPModel`."""

import math

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
    BertTokenizerFast,
    CLIPProcessor,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.clip.modeling_clip import CLIPOutput
from transformers.utils.generic import can_return_tuple

from textir_hf.models.towers import ImageTower, QueryAttention, TextTower


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
        """Called by `strict`.

        Raises:
            ValueError: Two sizes do not fit each other, or the text tower is none of BERT's.
        """
        if self.text_config.model_type != "bert":  # type: ignore[union-attr]
            raise ValueError(f"text_config must be a BertConfig, got {type(self.text_config).__name__}.")
        if self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}.")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size must be a multiple of num_heads {self.num_heads}, got {self.hidden_size}.")


class MiniCLIPModel(PreTrainedModel):
    """The dual encoder: the methods, arguments and outputs are those of `transformers.CLIPModel`.

    Embeddings in `pooler_output` are `[N, projection_dim]`, not normalized. Attentions are the text tower's alone.
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

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialization, written so that transformers can apply it to what a file lacks."""
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, QueryAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
            init.zeros_(module.out_proj.bias)
        elif isinstance(module, ImageTower):
            init.normal_(module.position, std=0.02)
            init.normal_(module.queries, std=0.02)
        elif module is self:
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The text tower's token embeddings."""
        return self.text_tower.bert.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the text tower's token embeddings."""
        self.text_tower.bert.set_input_embeddings(value)

    @can_return_tuple
    def get_image_features(
        self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, output_hidden_states: bool | None = None
    ) -> BaseModelOutputWithPooling:
        """Embeds images.

        Args:
            pixel_values: `[N, 3, image_size, image_size]`, normalized with the processor's mean and deviation.
            interpolate_pos_encoding: Take images of any size of at least 32x32 pixels: features of every size are
                pooled on the same grid.
            output_hidden_states: Return the backbone's eight feature maps too.

        Returns:
            `pooler_output` `[N, projection_dim]`; `last_hidden_state` `[N, grid^2, hidden_size]`, the features on the
            grid.

        Raises:
            ValueError: The images have another size.
        """
        size = self.config.image_size
        if not interpolate_pos_encoding and pixel_values.shape[1:] != (3, size, size):
            raise ValueError(
                f"pixel_values must be [N, 3, {size}, {size}], got {list(pixel_values.shape)}. "
                "Use the model's image processor, or set interpolate_pos_encoding."
            )
        output = self.image_tower(pixel_values.to(self.dtype))
        if not (self.config.output_hidden_states if output_hidden_states is None else output_hidden_states):
            output.hidden_states = None
        return output

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Embeds tokenized text.

        Args:
            input_ids: `[N, T]`.
            attention_mask: `[N, T]`, 1 = token, 0 = padding.
            position_ids: `[N, T]`; 0, 1, 2, ... if left out.
            token_type_ids: `[N, T]`, as the tokenizer gives them; 0 if left out.
            output_attentions: Return the attention weights of every layer too; needs `attn_implementation="eager"`.
            output_hidden_states: Return the token states of every layer too.

        Returns:
            `pooler_output` `[N, projection_dim]`; `last_hidden_state` `[N, T, hidden]`, the states of the tokens.
        """
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        options = {name: getattr(self.config, name) if value is None else value for name, value in options.items()}
        return self.text_tower(
            input_ids, attention_mask, position_ids=position_ids, token_type_ids=token_type_ids, **options
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        token_type_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> CLIPOutput:
        """Similarities of images and texts; arguments as for `get_image_features` and `get_text_features`.

        Args:
            return_loss: Return the contrastive loss too; text i belongs to image i.

        Returns:
            `logits_per_image` `[images, texts]`: cosines times the learned scale; `image_embeds` and `text_embeds` at
            unit length; the outputs of both towers.
        """
        image = self.get_image_features(
            pixel_values, interpolate_pos_encoding, output_hidden_states=output_hidden_states, return_dict=True
        )
        text = self.get_text_features(
            input_ids,
            attention_mask,
            position_ids,
            token_type_ids,
            output_attentions,
            output_hidden_states,
            return_dict=True,
        )
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

"""The config of the embedded dual encoder, known to `transformers.AutoConfig`.

It is apart from the model because it is imported while transformers is (see `textir_hf.auto_classes`), when no model
can be, nor another config: the decorator of transformers' own needs the Auto classes.
"""

import importlib

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig


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

    def __post_init__(self, **kwargs) -> None:
        """Imports the model's module, which tells the other Auto classes: each of them reads a config first."""
        super().__post_init__(**kwargs)
        importlib.import_module("textir_hf.models.encoder")

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


AutoConfig.register(MiniCLIPConfig.model_type, MiniCLIPConfig)

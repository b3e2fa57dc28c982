"""Text embeddings moved to where image embeddings lie."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.bounds import RECENTERING, check_bounds
from textir_hf.models.weights import CheckedWeights


class TextRecentering(CheckedWeights, ModelMixin, ConfigMixin):
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
        check_bounds({"embedding_dim": embedding_dim, "scale": scale}, RECENTERING)
        self.text_mean = nn.Parameter(torch.zeros(embedding_dim), requires_grad=False)
        self.image_mean = nn.Parameter(torch.zeros(embedding_dim), requires_grad=False)

    def forward(self, text_embedding: Tensor) -> Tensor:
        """`[N, D]` at unit length to `[N, D]` at unit length."""
        return F.normalize(self.image_mean + self.config.scale * (text_embedding - self.text_mean), dim=-1)

    def enable_layerwise_casting(self, *args, **kwargs) -> None:
        """Refused: there are two vectors and no layer.

        Raises:
            ValueError: Always.
        """
        raise ValueError("TextRecentering holds two vectors, too little to cast. Enable it for the restorer alone.")

"""CLIP score (Hessel et al., 2021): 100 times the cosine of image and sentence, at least 0."""

import datasets
import numpy as np
import torch

from textir_hf.metrics import images
from textir_hf.models.embedding import embed_texts, load_encoder


class CLIPScore(images.ImageMetric):
    """100 times the cosine of an image's and a sentence's embeddings, at least 0.

    With masks, of the squares around them. Option: encoder, "textir-mini-clip" or a folder or Hub id of a CLIP model,
    whose scale the value has.
    """

    citation = "Hessel et al.: CLIPScore: A reference-free evaluation metric for image captioning. EMNLP 2021."
    inputs = images.INPUTS.replace("The targets, one each, of the same sizes.", "A sentence each.")
    references = datasets.Value("string")

    def _compute(self, predictions, references, masks=None, encoder="textir-mini-clip"):  # type: ignore[override]
        restored, sentences = images.to_images(predictions), list(references)
        if empty := [i for i, s in enumerate(sentences) if not s or not s.strip()]:
            raise ValueError(f"references must be sentences, got an empty one at {empty[0]}.")
        clip, tokenizer, image_processor = load_encoder(encoder)
        embedded = images.embed(restored, images.to_masks(masks, len(restored)), clip, image_processor)
        with torch.no_grad():
            texts = embed_texts(clip, tokenizer, sentences).double().numpy()
        values = (100 * np.maximum((embedded * texts).sum(1), 0)).tolist()
        return {"clip_score": float(np.mean(values)), "values": values}

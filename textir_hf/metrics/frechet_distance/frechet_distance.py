"""Fréchet distance of two sets of images, on the embeddings of a dual encoder in place of Inception's features."""

from textir_hf.metrics import functional, images
from textir_hf.models.embedding import load_encoder


class FrechetDistance(images.ImageMetric):
    """Squared Fréchet distance on a dual encoder's unit-length embeddings. FID uses Inception's features instead.

    With masks, of the squares around them. Its value depends on the number of images. Option: encoder,
    "textir-mini-clip" or a folder or Hub id of a CLIP model.
    """

    citation = "Heusel et al.: GANs trained by a two time-scale update rule converge to a local Nash equilibrium. 2017."

    def _compute(self, predictions, references, masks=None, encoder="textir-mini-clip"):  # type: ignore[override]
        counted = images.to_masks(masks, len(predictions))
        clip, _, image_processor = load_encoder(encoder)
        sets = images.to_images(predictions), images.to_images(references)
        features = [images.embed(one, counted, clip, image_processor) for one in sets]
        return {"frechet_distance": functional.frechet_distance(*features), "features": encoder}

"""The condition c of Eq. 1 and Sec. 4.6: embeddings of texts and references."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging.faces import Frame, warp_to_frame
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.models.embedding import embed_images, embed_texts
from textir_hf.pipeline.arguments import Prompt, check_sentences
from textir_hf.pipeline.prepare import Prepared


def encode_prompt(pipe, prompt: Prompt | None, templates: list[str] | None) -> Tensor:
    """The mean embedding of a prompt's sentences over the templates, recentered: `[1, D]` at unit length.

    Raises:
        ValueError: A sentence is empty, or the pipeline has no encoder.
    """
    _check_encoder(pipe)
    sentences = check_sentences(prompt)
    templates = templates or pipe.config.prompt_templates or ["{}"]
    texts = [template.replace("{}", sentence) for sentence in sentences for template in templates]
    embeddings = embed_texts(pipe.clip, pipe.tokenizer, texts, pipe._execution_device)
    embedding = F.normalize(embeddings.mean(0, keepdim=True), dim=1)
    return embedding if pipe.recentering is None else pipe.recentering(embedding).float()


class Conditions:
    """Conditions of one call; a prompt that several images share is embedded once.

    Args:
        pipe: The pipeline.
        templates: Sentences with "{}" for the prompt.
        beta: Share of the text.
    """

    def __init__(self, pipe, templates: list[str] | None, beta: float) -> None:
        self.pipe, self.templates, self.beta = pipe, templates, beta
        self._texts: dict[Prompt | None, Tensor] = {}

    def __call__(self, prepared: Prepared, sample_size: int) -> list[Tensor]:
        """Conditions `[1, D]` at unit length: the image's, and where faces have their own, one for each.

        A face's reference is the face itself in its frame, unless the caller gave another.

        Args:
            prepared: What was asked of an image.
            sample_size: Side of a face's frame, pixels.
        """
        rgb, reference, face_prompts = prepared.request.image.rgb, prepared.reference, prepared.face_prompts
        text = self._text(prepared.prompt, prepared.prompt_embeds)
        image = self._image(rgb if reference is None else reference.rgb)
        conditions = [self._mix(text, image)]
        faces_differ = self.beta != 1 and reference is None
        if face_prompts is None and not faces_differ:
            return conditions
        for i, frame in enumerate(prepared.request.frames):
            face_text = text if face_prompts is None else self._text(face_prompts[i], None)
            face_image = self._image(_face(rgb, frame, sample_size)) if faces_differ else image
            conditions.append(self._mix(face_text, face_image))
        return conditions

    def _mix(self, text: Tensor | None, image: Tensor | None) -> Tensor:
        """`c = beta E_T(text) + (1 - beta) E_I(reference)`, `[1, D]` at unit length."""
        parts = ((self.beta, text), (1 - self.beta, image))
        return F.normalize(torch.stack([share * part for share, part in parts if part is not None]).sum(0), dim=1)

    def _text(self, prompt: Prompt | None, prompt_embeds: Tensor | None) -> Tensor | None:
        if self.beta == 0:
            return None
        if prompt_embeds is not None:
            return prompt_embeds[None].to(self.pipe._execution_device).float()
        if prompt not in self._texts:
            self._texts[prompt] = encode_prompt(self.pipe, prompt, self.templates)
        return self._texts[prompt]

    def _image(self, rgb: np.ndarray) -> Tensor | None:
        if self.beta == 1:
            return None
        _check_encoder(self.pipe)
        return embed_images(self.pipe.clip, self.pipe.image_processor, to_tensor(rgb, self.pipe._execution_device))


def _check_encoder(pipe) -> None:
    if pipe.clip is None or pipe.tokenizer is None or pipe.image_processor is None:
        raise ValueError("This pipeline has no dual encoder: give clip=, tokenizer= and image_processor=.")


def _face(rgb: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    warped = warp_to_frame(torch.from_numpy(rgb).movedim(-1, 0), frame, size)
    return to_array(warped[None] / 255)

"""The condition c of Eq. 1 and Sec. 4.6: embeddings of texts and references, each computed once for a call."""

from collections.abc import Callable

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
    if pipe.clip is None or pipe.tokenizer is None:
        raise ValueError("This pipeline has no dual encoder: give clip=, tokenizer= and image_processor=.")
    sentences = check_sentences(prompt)
    templates = templates or pipe.config.prompt_templates or ["{}"]
    texts = [template.replace("{}", sentence) for sentence in sentences for template in templates]
    embeddings = embed_texts(pipe.clip, pipe.tokenizer, texts, pipe._execution_device)
    embedding = F.normalize(embeddings.mean(0, keepdim=True), dim=1)
    return embedding if pipe.recentering is None else pipe.recentering(embedding).float()


class Conditions:
    """Conditions of one call; what several images share is embedded once.

    Args:
        pipe: The pipeline.
        templates: Sentences with "{}" for the prompt.
        beta: Share of the text.
    """

    def __init__(self, pipe, templates: list[str] | None, beta: float) -> None:
        self.pipe, self.templates, self.beta = pipe, templates, beta
        self._known: dict = {}

    def __call__(self, prepared: Prepared, sample_size: int) -> list[Tensor]:
        """Conditions `[1, D]` at unit length: the image's, and where faces have their own, one for each.

        A face's reference is the face itself in its frame, unless the caller gave another.

        Args:
            prepared: What was asked of an image.
            sample_size: Side of a face's frame, pixels.
        """
        image = prepared.request.image.rgb if prepared.reference is None else prepared.reference.rgb
        conditions = [self._mix(prepared.prompt, prepared.prompt_embeds, image)]
        frames, face_prompts = prepared.request.frames, prepared.face_prompts
        if face_prompts is None and (self.beta == 1 or prepared.reference is not None):
            return conditions
        for prompt, frame in zip(face_prompts or [prepared.prompt] * len(frames), frames, strict=True):
            seen = image if prepared.reference is not None or self.beta == 1 else _face(image, frame, sample_size)
            conditions.append(self._mix(prompt, None if face_prompts else prepared.prompt_embeds, seen))
        return conditions

    def _mix(self, prompt: Prompt | None, prompt_embeds: Tensor | None, image: np.ndarray) -> Tensor:
        """`c = beta E_T(text) + (1 - beta) E_I(reference)`, `[1, D]` at unit length."""
        parts = []
        if self.beta != 0:
            if prompt_embeds is not None:
                text = prompt_embeds[None].to(self.pipe._execution_device).float()
            else:
                text = self._once(prompt, lambda: encode_prompt(self.pipe, prompt, self.templates))
            parts.append(self.beta * text)
        if self.beta != 1:
            parts.append((1 - self.beta) * self._once(id(image), lambda: self._embed(image)))
        return F.normalize(sum(parts[1:], parts[0]), dim=1)

    def _once(self, key, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def _embed(self, rgb: np.ndarray) -> Tensor:
        image = to_tensor(rgb, self.pipe._execution_device)
        return embed_images(self.pipe.clip, self.pipe.image_processor, image)


def _face(rgb: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    warped = warp_to_frame(torch.from_numpy(rgb).movedim(-1, 0), frame, size)
    return to_array(warped[None] / 255)

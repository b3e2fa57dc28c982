"""The condition c of Eq. 1 and Sec. 4.6: embeddings of texts and references."""

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging.faces import warp_to_frame
from textir_hf.imaging.resample import round_to_8_bits, to_tensor
from textir_hf.models.embedding import embed_images, embed_texts
from textir_hf.pipeline.arguments import Prompt, check_sentences
from textir_hf.tasks.base import Request


def encode_prompt(pipe, prompt: Prompt | None, templates: list[str] | None) -> Tensor:
    """The mean embedding of a prompt's sentences over the templates, recentered: `[1, D]` at unit length.

    Raises:
        ValueError: A sentence is empty, or the pipeline has no encoder.
    """
    if pipe.clip is None or pipe.tokenizer is None:
        raise ValueError("This pipeline has no dual encoder: give clip= and tokenizer=.")
    sentences = check_sentences(prompt)
    templates = templates or pipe.config.prompt_templates or ["{}"]
    texts = [template.replace("{}", sentence) for sentence in sentences for template in templates]
    embeddings = embed_texts(pipe.clip, pipe.tokenizer, texts, pipe._execution_device)
    embedding = F.normalize(embeddings.mean(0, keepdim=True), dim=1)
    return embedding if pipe.recentering is None else pipe.recentering(embedding).float()


class Conditions:
    """`c = beta E_T(text) + (1 - beta) E_I(reference)` at unit length; a prompt of several images is embedded once.

    Args:
        pipe: The pipeline.
        templates: Sentences with "{}" for the prompt.
    """

    def __init__(self, pipe, templates: list[str] | None) -> None:
        self.pipe, self.templates = pipe, templates
        self._texts: dict[Prompt | None, Tensor] = {}

    def __call__(self, request: Request) -> list[Tensor]:
        """Conditions `[1, D]`: the image's, and where faces have their own, one for each.

        A face's reference is the face itself in its frame, unless the caller gave another.
        """
        pixels = to_tensor((request.reference or request.image).rgb, self.pipe._execution_device)
        conditions = [self._mix(request.prompt, request.prompt_embeds, request.beta, pixels)]
        own_reference = request.beta != 1 and request.reference is None
        if request.face_prompts is None and not own_reference:
            return conditions
        for i, frame in enumerate(request.frames):
            prompt, embeds = request.prompt, request.prompt_embeds
            if request.face_prompts is not None:
                prompt, embeds = request.face_prompts[i], None
            face = pixels
            if own_reference:
                face = warp_to_frame(pixels[0], frame, self.pipe.restorer.config.sample_size)
                face = round_to_8_bits(face)[None]
            conditions.append(self._mix(prompt, embeds, request.beta, face))
        return conditions

    def _mix(self, prompt: Prompt | None, embeds: Tensor | None, beta: float, reference: Tensor) -> Tensor:
        parts = []
        if beta != 0 and embeds is not None:
            parts.append(beta * embeds[None].to(self.pipe._execution_device).float())
        elif beta != 0:
            if prompt not in self._texts:
                self._texts[prompt] = encode_prompt(self.pipe, prompt, self.templates)
            parts.append(beta * self._texts[prompt])
        if beta != 1:
            if self.pipe.clip is None or self.pipe.image_processor is None:
                raise ValueError("This pipeline has no dual encoder: give clip= and image_processor=.")
            parts.append((1 - beta) * embed_images(self.pipe.clip, self.pipe.image_processor, reference))
        return F.normalize(torch.stack(parts).sum(0), dim=1)

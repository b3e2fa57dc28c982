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
    _check_encoder(pipe)
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
        beta: Share of the text.
    """

    def __init__(self, pipe, templates: list[str] | None, beta: float) -> None:
        self.pipe, self.templates, self.beta = pipe, templates, beta
        self._texts: dict[Prompt, Tensor] = {}

    def __call__(self, request: Request) -> list[Tensor]:
        """Conditions `[1, D]`: the image's, and where faces have their own, one for each.

        A face's reference is the face itself in its frame, unless the caller gave another.
        """
        pixels = to_tensor((request.reference or request.image).rgb, self.pipe._execution_device)
        text, reference = self._text(request.prompt, request.prompt_embeds), self._reference(pixels)
        conditions = [self._mix(text, reference)]
        own_reference = self.beta != 1 and request.reference is None
        if request.face_prompts is None and not own_reference:
            return conditions
        for i, frame in enumerate(request.frames):
            if request.face_prompts is not None:
                text = self._text(request.face_prompts[i], None)
            if own_reference:
                face = warp_to_frame(pixels[0], frame, self.pipe.restorer.config.sample_size)
                reference = self._reference(round_to_8_bits(face)[None])
            conditions.append(self._mix(text, reference))
        return conditions

    def _text(self, prompt: Prompt | None, prompt_embeds: Tensor | None) -> Tensor | None:
        if self.beta == 0:
            return None
        if prompt_embeds is not None:
            return prompt_embeds[None].to(self.pipe._execution_device).float()
        if prompt not in self._texts:
            self._texts[prompt] = encode_prompt(self.pipe, prompt, self.templates)
        return self._texts[prompt]

    def _reference(self, pixels: Tensor) -> Tensor | None:
        if self.beta == 1:
            return None
        _check_encoder(self.pipe)
        return embed_images(self.pipe.clip, self.pipe.image_processor, pixels)

    def _mix(self, text: Tensor | None, reference: Tensor | None) -> Tensor:
        parts = ((self.beta, text), (1 - self.beta, reference))
        return F.normalize(torch.stack([share * part for share, part in parts if part is not None]).sum(0), dim=1)


def _check_encoder(pipe) -> None:
    if pipe.clip is None or pipe.tokenizer is None or pipe.image_processor is None:
        raise ValueError("This pipeline has no dual encoder: give clip=, tokenizer= and image_processor=.")

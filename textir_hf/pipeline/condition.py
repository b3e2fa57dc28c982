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
    """The mean embedding of a prompt's sentences over the templates, recentered: `[1, D]` at unit length."""
    if pipe.clip is None or pipe.tokenizer is None:
        raise ValueError("This pipeline has no dual encoder: give clip= and tokenizer=.")
    texts: list[str] = []
    for sentence in check_sentences(prompt):
        for template in templates or pipe.config.prompt_templates or ["{}"]:
            texts.append(template.replace("{}", sentence))
    embeddings = embed_texts(pipe.clip, pipe.tokenizer, texts, pipe._execution_device)
    embedding = F.normalize(embeddings.mean(0, keepdim=True), dim=1)
    return embedding if pipe.recentering is None else pipe.recentering(embedding).float()


def embed_request(
    pipe, request: Request, templates: list[str] | None, texts: dict[Prompt | None, Tensor]
) -> list[Tensor]:
    """Conditions `[1, D]`: the image's, and where faces have their own, one for each.

    A face's reference is the face itself in its frame, unless the caller gave another. `texts` keeps the embeddings of
    prompts: one of several images is embedded once.
    """

    def mix(prompt: Prompt | None, embeds: Tensor | None, reference: Tensor) -> Tensor:
        """`c = beta E_T(text) + (1 - beta) E_I(reference)` at unit length."""
        beta, parts = request.beta, []
        if beta != 0 and embeds is not None:
            parts.append(beta * embeds[None].to(pipe._execution_device).float())
        elif beta != 0:
            if prompt not in texts:
                texts[prompt] = encode_prompt(pipe, prompt, templates)
            parts.append(beta * texts[prompt])
        if beta != 1:
            if pipe.clip is None or pipe.image_processor is None:
                raise ValueError("This pipeline has no dual encoder: give clip= and image_processor=.")
            parts.append((1 - beta) * embed_images(pipe.clip, pipe.image_processor, reference))
        return F.normalize(torch.stack(parts).sum(0), dim=1)

    shown = request.reference or request.original or request.image
    pixels = torch.empty(0) if request.beta == 1 else to_tensor(shown.rgb, pipe._execution_device)
    conditions = [mix(request.prompt, request.prompt_embeds, pixels)]
    own_reference = request.beta != 1 and request.reference is None
    for i, frame in enumerate(request.frames if request.face_prompts is not None or own_reference else ()):
        face, prompt, embeds = pixels, request.prompt, request.prompt_embeds
        if request.face_prompts is not None:
            prompt, embeds = request.face_prompts[i], None
        if own_reference:
            face = round_to_8_bits(warp_to_frame(pixels[0], frame, pipe.restorer.config.sample_size))[None]
        conditions.append(mix(prompt, embeds, face))
    return conditions

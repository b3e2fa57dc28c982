"""The condition c of Eq. 1 and Sec. 4.6: embeddings of texts and references, each computed once for a call."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging.resample import to_tensor
from textir_hf.models.embedding import embed_images, embed_texts
from textir_hf.pipeline.prepare import Prepared, Prompt, check_sentences


def encode_prompt(pipe, prompt: Prompt, templates: list[str] | None) -> Tensor:
    """The mean embedding of a prompt's sentences over the templates, recentered: `[1, D]` at unit length.

    Raises:
        ValueError: A sentence is empty, a template has no "{}", or the pipeline has no encoder.
    """
    if pipe.clip is None or pipe.tokenizer is None:
        raise ValueError("This pipeline has no dual encoder: give clip=, tokenizer= and image_processor=.")
    check_sentences(prompt)
    templates = templates or pipe.config.prompt_templates or ["{}"]
    bad = [t for t in templates if "{}" not in t]
    if bad:
        raise ValueError(f'templates must contain "{{}}" for the prompt, got {bad[0]!r}.')
    texts = [template.replace("{}", sentence) for sentence in prompt for template in templates]
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

    def __call__(self, prepared: Prepared) -> Tensor:
        """`c = beta E_T(text) + (1 - beta) E_I(reference)`, `[1, D]` at unit length."""
        parts = []
        if self.beta != 0:
            if prepared.prompt_embeds is not None:
                text = prepared.prompt_embeds[None].to(self.pipe._execution_device).float()
            else:
                text = self._once(prepared.prompt, lambda: encode_prompt(self.pipe, prepared.prompt, self.templates))
            parts.append(self.beta * text)
        if self.beta != 1:
            image = self._once(id(prepared.reference), lambda: self._embed(prepared.reference.rgb))
            parts.append((1 - self.beta) * image)
        return F.normalize(sum(parts), dim=1)

    def _once(self, key, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def _embed(self, rgb) -> Tensor:
        image = to_tensor(rgb, self.pipe._execution_device)
        return embed_images(self.pipe.clip, self.pipe.image_processor, image)

"""Model cards: one template for trained and converted checkpoints, and the parts that all cards share."""

from collections.abc import Mapping

from huggingface_hub import ModelCardData

from textir_hf.tasks import Task

INVENTED = (
    "The network invents what is missing; it does not recover it. A result does not show a real person's face and must "
    "not be used to identify, accuse or verify anybody, nor to pass off an edited image as a record."
)
HERE = "."  # the name of an unpublished checkpoint in its card, for a program that runs in its folder
CITATION = """## Citation

```bibtex
@article{bai2023textir,
  title   = {TextIR: A Simple Framework for Text-based Editable Image Restoration},
  author  = {Bai, Yunpeng and Wang, Cairong and Xie, Shuzhao and Dong, Chao and Yuan, Chun and Wang, Zhi},
  journal = {arXiv preprint arXiv:2302.14736},
  year    = {2023}
}
```"""
_LOADING = 'pipe = TextIRPipeline.from_pretrained("{}")'
_USAGE = """```python
from textir_hf import TextIRPipeline, open_image

{loading}
{images}
restored = {call}.images[0]
```

Install it with `pip install textir-hf`. It behaves like any diffusers pipeline, but
`DiffusionPipeline.from_pretrained` does not load it, because that only loads classes of diffusers."""


def usage(task: Task, checkpoint: str, comment: str = "") -> str:
    """Markdown of a Python block that loads a checkpoint, by its name or `HERE`, and restores an image."""
    names = ["image", "mask"] if "mask_image" in task.requires else ["image"]
    loading = _LOADING.format(checkpoint) + (f"  # {comment}" if comment else "")
    images = "\n".join([f'{name} = open_image("{name}.png")' for name in names])
    return _USAGE.format(loading=loading, images=images, call=task.usage)


def name_checkpoint(card: str, checkpoint: str) -> str:
    """A card whose example loads a published checkpoint, by its name on the Hub, instead of the card's own folder."""
    return card.replace(_LOADING.format(HERE), _LOADING.format(checkpoint))


def render_card(task: Task, title: str, summary: str, sections: Mapping[str, str], **metadata) -> str:
    """The text of a pipeline's card: title, summary, sections by heading, and the paper's citation.

    `metadata` are further fields of `ModelCardData`. It names another library than diffusers, which would look for the
    pipeline's class in diffusers itself or in the repository's own code.
    """
    common = {"library_name": "textir-hf", "pipeline_tag": "image-to-image", "tags": ["textir", task.name]}
    parts = [f"---\n{ModelCardData(**common | metadata).to_yaml()}\n---", f"# {title}", summary.strip()]
    parts += [f"## {heading}\n\n{text.strip()}" for heading, text in sections.items()]
    return "\n\n".join([*parts, CITATION]) + "\n"

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
    """Markdown of a Python block that loads a checkpoint and restores an image.

    `DiffusionPipeline.from_pretrained` looks for the pipeline's class in diffusers itself, and for those of other
    packages only in the repository's own code. So a card names another library than diffusers.

    Args:
        task: The checkpoint's.
        checkpoint: Its name for `TextIRPipeline.from_pretrained`, or `HERE`.
        comment: A comment on loading it.
    """
    names = ["image", "mask"] if "mask_image" in task.requires else ["image"]
    loading = _LOADING.format(checkpoint) + (f"  # {comment}" if comment else "")
    images = "\n".join(f'{name} = open_image("{name}.png")' for name in names)
    return _USAGE.format(loading=loading, images=images, call=task.usage)


def name_checkpoint(card: str, checkpoint: str) -> str:
    """A card whose example loads a published checkpoint instead of the card's own folder.

    Args:
        card: The card's text.
        checkpoint: Its name on the Hub.
    """
    return card.replace(_LOADING.format(HERE), _LOADING.format(checkpoint))


def card_data(task: Task, **metadata) -> ModelCardData:
    """Metadata of a pipeline's card.

    Args:
        task: The checkpoint's.
        **metadata: Further fields of `ModelCardData`, or other values for those that every card has.
    """
    common = {"library_name": "textir-hf", "pipeline_tag": "image-to-image", "tags": ["textir", task.name]}
    return ModelCardData(**common | metadata)


def render_card(data: ModelCardData, title: str, summary: str, sections: Mapping[str, str]) -> str:
    """The text of a card: its metadata, title and summary, the sections in their order, and the paper's citation.

    Args:
        data: The metadata.
        title: The heading.
        summary: The text below it.
        sections: Markdown by heading; empty sections are left out.
    """
    parts = [f"---\n{data.to_yaml()}\n---", f"# {title}", summary.strip()]
    parts += [f"## {heading}\n\n{text.strip()}" for heading, text in sections.items() if text.strip()]
    return "\n\n".join([*parts, CITATION]) + "\n"

"""Model cards: one template for embedded, trained and converted checkpoints."""

from collections.abc import Mapping

from huggingface_hub import ModelCardData

from textir_hf.tasks import Task

INVENTED = (
    "What the network puts where information is missing is invented, not recovered. A result shows no real person's "
    "face and must not be used to identify, accuse or verify anybody, nor to pass off an edited image as a record."
)
HERE = "."  # the name of an unpublished checkpoint in its card, for a program that runs in its folder
_NOT_DIFFUSERS = (
    "`pip install textir-hf` comes first. The pipeline is one of diffusers in all it does, but "
    "`DiffusionPipeline.from_pretrained` does not load it: that takes classes of diffusers alone."
)
_CITATION = """```bibtex
@article{bai2023textir,
  title   = {TextIR: A Simple Framework for Text-based Editable Image Restoration},
  author  = {Bai, Yunpeng and Wang, Cairong and Xie, Shuzhao and Dong, Chao and Yuan, Chun and Wang, Zhi},
  journal = {arXiv preprint arXiv:2302.14736},
  year    = {2023}
}
```"""


def usage(task: Task, checkpoint: str, comment: str = "") -> str:
    """Markdown of a Python block that loads a checkpoint and restores an image, and what does not load it.

    `DiffusionPipeline.from_pretrained` looks for the pipeline's class in diffusers itself, and for those of other
    packages only in the repository's own code. So a card names another library than diffusers.

    Args:
        task: The checkpoint's.
        checkpoint: Its name for `TextIRPipeline.from_pretrained`, or `HERE`.
        comment: What the reader has to know about loading it.
    """
    images = {"image": "image.png"} | ({"mask": "mask.png"} if "mask_image" in task.requires else {})
    lines = [
        "from textir_hf import TextIRPipeline, open_image\n",
        f"{_loading(checkpoint)}{f'  # {comment}' if comment else ''}",
        *(f'{name} = open_image("{file}")' for name, file in images.items()),
        f"restored = {task.usage}.images[0]",
    ]
    return "\n".join(["```python", *lines, "```"]) + f"\n\n{_NOT_DIFFUSERS}"


def _loading(checkpoint: str) -> str:
    return f'pipe = TextIRPipeline.from_pretrained("{checkpoint}")'


def name_checkpoint(card: str, checkpoint: str) -> str:
    """A card whose example loads a published checkpoint in place of the folder that it stands in.

    Args:
        card: The card's text.
        checkpoint: Its name on the Hub.
    """
    return card.replace(_loading(HERE), _loading(checkpoint))


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
        summary: What stands below it.
        sections: Markdown by heading; empty sections are left out.
    """
    parts = [f"---\n{data.to_yaml()}\n---", f"# {title}", summary.strip()]
    for heading, text in (*sections.items(), ("Citation", _CITATION)):
        if text.strip():
            parts.append(f"## {heading}\n\n{text.strip()}")
    return "\n\n".join(parts) + "\n"

"""How the page looks, and the components that are its own: editor, examples and status."""

import re
from collections.abc import Callable
from html import escape
from itertools import count
from pathlib import Path

import gradio as gr
from gradio import routes
from jinja2 import ChoiceLoader, DictLoader

from textir_hf.space import examples, texts

WEB = Path(__file__).parent / "web"
_NUMBERS = count(1)


def read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def own_head() -> None:
    """Replaces Gradio's own title and description for link previews by ours."""
    environment = routes.templates.env
    page = environment.loader.get_source(environment, "frontend/index.html")[0]
    page = re.sub(r'<meta\s+(property="og:|name="twitter:)[^>]*>', "", page).replace("<head>", "<head>" + texts.HEAD)
    environment.loader = ChoiceLoader([DictLoader({"frontend/index.html": page}), environment.loader])


def theme() -> gr.themes.Base:
    """Quiet grays and fonts that every machine has; `page.css` sets the colors of texts and buttons."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    hues = {"primary_hue": "teal", "secondary_hue": "teal", "neutral_hue": "stone"}
    return gr.themes.Default(spacing_size="sm", font=fonts, font_mono=("ui-monospace", "monospace"), **hues)


def numbered(value: dict) -> dict:
    """A value that the browser takes for a new one, even where it equals the last."""
    return value | {"number": next(_NUMBERS)}


def custom(value=None, **options) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, padding=False, **options)


def editor(tabs: dict[str, dict], look: Callable) -> gr.HTML:
    """The page's canvas: an image, a mask over it, its results and the visit's steps."""
    script = "".join(read(f"{part}.js") for part in ("mask", "regions", "view", "editor", "files", "steps", "page"))
    kinds = {
        "tabs": list(tabs),
        "paints": {name: tab["paints"] for name, tab in tabs.items()},
        **{kind: [name for name, tab in tabs.items() if tab.get(kind)] for kind in ("faces", "regions", "sweeps")},
    }
    value = {"openings": {name: tab["opening"] for name, tab in tabs.items()}}
    web = {"html_template": read("editor.html"), "js_on_load": script, "server_functions": [look]}
    return custom(value, elem_id="editor", elem_classes="ti-editor", **web, **kinds)


def example_gallery(items: list[examples.Example], elem_id: str) -> gr.HTML:
    """Images before and after; each triggers `select` with its number."""
    boxes = []  # over the thumbnails
    for item in items:
        left, top, right, bottom = (100 * v / item.side for v in item.box or (0, 0, 0, 0))
        place = f"left:{left:.0f}%;top:{top:.0f}%;width:{right - left:.0f}%;height:{bottom - top:.0f}%"
        boxes.append(f'<i style="{place}"></i>' if item.box else "")
    value = {"items": [item.shown for item in items], "boxes": boxes}
    return custom(value, html_template=read("examples.html"), js_on_load=read("choose.js"), elem_id=elem_id)


def status(text: str = "", share: float | None = None, alert: bool = False) -> str:
    """The line below a tab's button, and the only progress bar."""
    if not text:
        return ""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="Progress"></progress>'
    kind = ' class="ti-alert" role="alert"' if alert else ""
    return f"<p{kind}>{escape(text)}</p>{bar}"


def status_line(elem_id: str) -> gr.HTML:
    """Where a tab shows its `status`, and a waiting run its place in the queue, which Gradio alone knows."""
    template = '<div class="ti-status" role="status">${value}</div><p class="ti-place" role="status"></p>'
    return custom("", html_template=template, js_on_load=read("place.js"), elem_id=elem_id)


def no_addresses(page: gr.Blocks) -> None:
    """Makes all components take uploaded files only: the server fetches no addresses for visitors."""
    for block in page.blocks.values():
        if isinstance(block, gr.components.Component):
            block.async_move_resource_to_block_cache = _checked(block.async_move_resource_to_block_cache)


def _checked(move):
    async def moved(path):
        if path is not None and "://" in str(path):
            raise gr.Error(texts.NO_URL, print_exception=False)
        return await move(path)

    return moved

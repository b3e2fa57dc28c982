"""How the page looks, and the components that are its own: editor, examples, suggestions and status."""

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
    """A file that goes to the browser."""
    return (WEB / name).read_text(encoding="utf-8")


def own_head() -> None:
    """Replaces Gradio's own title and description for link previews by ours."""
    environment = routes.templates.env
    page = environment.loader.get_source(environment, "frontend/index.html")[0]
    page = re.sub(r'<meta\s+(property="og:|name="twitter:)[^>]*>', "", page).replace("<head>", "<head>" + texts.HEAD)
    environment.loader = ChoiceLoader([DictLoader({"frontend/index.html": page}), environment.loader])


def theme() -> gr.themes.Base:
    """Quiet grays, colors whose contrast reaches 4.5:1 in both themes, and fonts that every machine has."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    hues = {"primary_hue": "teal", "secondary_hue": "teal", "neutral_hue": "stone"}
    base = gr.themes.Default(spacing_size="sm", font=fonts, font_mono=("ui-monospace", "monospace"), **hues)
    muted, muted_dark = "#57534e", "#d6d3d1"
    return base.set(
        block_label_text_color=muted,
        block_label_text_color_dark=muted_dark,
        block_title_text_color="#292524",
        block_title_text_color_dark="#e7e5e4",
        block_info_text_color=muted,
        block_info_text_color_dark=muted_dark,
        body_text_color_subdued=muted,
        body_text_color_subdued_dark=muted_dark,
        input_placeholder_color="#6b6560",
        input_placeholder_color_dark="#b3aca6",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_text_color="#ffffff",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#115e59",
        button_primary_text_color_dark="#ffffff",
        link_text_color="#0f5e57",
        link_text_color_dark="#5eead4",
    )


def numbered(value: dict) -> dict:
    """A value that the browser takes for a new one, even where it equals the last."""
    return value | {"number": next(_NUMBERS)}


def _custom(value=None, **options) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, padding=False, **options)


def editor(tabs: dict[str, dict], look: Callable) -> gr.HTML:
    """The page's canvas: an image, a mask over it, its results and the visit's steps."""
    script = "".join(read(f"{part}.js") for part in ("mask", "regions", "view", "editor", "steps", "page"))
    kinds = {
        "tabs": list(tabs),
        "paints": {name: tab["paints"] for name, tab in tabs.items()},
        **{kind: [name for name, tab in tabs.items() if tab.get(kind)] for kind in ("faces", "regions", "sweeps")},
    }
    value = {"openings": {name: tab["opening"] for name, tab in tabs.items()}}
    web = {"html_template": read("editor.html"), "js_on_load": script, "server_functions": [look]}
    return _custom(value, elem_id="editor", elem_classes="ti-editor", **web, **kinds)


_CHOOSE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('select', { choice: button.dataset.choice });
});
"""


def choices(label: str, names, elem_id: str, labeled: bool = False) -> gr.HTML:
    """A row of small buttons; each triggers `select` with its text."""
    buttons = "".join(f'<button type="button" data-choice="{escape(c)}">{escape(c)}</button>' for c in names)
    title = f'<span class="ti-label">{escape(label)}</span>' if labeled else ""
    group = f'<div class="ti-chips" role="group" aria-label="{escape(label)}">{title}{buttons}</div>'
    return _custom(html_template=group, js_on_load=_CHOOSE, elem_id=elem_id)


_EXAMPLES = """<p class="ti-label">LABEL</p><div class="ti-examples">{{#each value.items}}
<button type="button" data-choice="{{@index}}"><span class="pair"><span class="ti-half">
<img src="{{before.url}}" alt="">{{{lookup ../value.boxes @index}}}</span><span class="ti-half">
<img src="{{after.url}}" alt=""></span></span>{{caption}}</button>{{/each}}</div>"""


def example_gallery(items: list[examples.Example], elem_id: str) -> gr.HTML:
    """Images before and after; each triggers `select` with its number."""
    value = {"items": [item.shown for item in items], "boxes": [_percent(item) for item in items]}
    return _custom(value, html_template=_EXAMPLES.replace("LABEL", texts.EXAMPLES), js_on_load=_CHOOSE, elem_id=elem_id)


def _percent(item: examples.Example) -> str:
    """The masked box of an example, over its thumbnail."""
    if not item.box:
        return ""
    left, top, right, bottom = (100 * v / item.side for v in item.box)
    return f'<i style="left:{left:.0f}%;top:{top:.0f}%;width:{right - left:.0f}%;height:{bottom - top:.0f}%"></i>'


def status(text: str = "", share: float | None = None, alert: bool = False) -> str:
    """The line below a tab's button, and the only progress bar."""
    if not text:
        return ""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="Progress"></progress>'
    kind = ' class="ti-alert" role="alert"' if alert else ""
    return f"<p{kind}>{escape(text)}</p>{bar}"


_PLACE = """
const block = element.parentElement.closest('[id]'), place = element.querySelector('.ti-place');
new MutationObserver(() => {
  const found = /queue: (\\d+)\\/(\\d+)/.exec(block.querySelector('.progress-text')?.textContent);
  const text = found ? `WAITING`.replace('{0}', found[1]).replace('{1}', found[2]) : '';
  if (place.textContent !== text) place.textContent = text;
  const bar = block.querySelector('progress');
  const said = text || (bar ? block.querySelector('.ti-status p').textContent : '');
  if (block.offsetParent || !said) window.textir?.busy(said);
}).observe(block, { childList: true, characterData: true, subtree: true });
"""


def status_line(elem_id: str) -> gr.HTML:
    """Where a tab shows its `status`, and a waiting run its place in the queue, which Gradio alone knows."""
    template = '<div class="ti-status" role="status">${value}</div><p class="ti-place" role="status"></p>'
    return _custom("", html_template=template, js_on_load=_PLACE.replace("WAITING", texts.WAITING), elem_id=elem_id)


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

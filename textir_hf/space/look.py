"""How the page looks, and the components that it uses more than once."""

import gradio as gr

from textir_hf.space import texts

CSS = """
.gradio-container {max-width: 1280px !important; margin: auto}
footer {opacity: .7}
"""


def theme() -> gr.themes.Base:
    """Quiet greys, and fonts that every machine has."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    return gr.themes.Soft(primary_hue="teal", neutral_hue="stone", font=fonts, font_mono=("ui-monospace", "monospace"))


def editor(label: str, name: str) -> gr.ImageEditor:
    """A picture to paint a mask on."""
    brush = gr.Brush(default_size="auto", colors=["#ffffff"], default_color="#ffffff", color_mode="fixed")
    return gr.ImageEditor(
        type="pil",
        image_mode="RGBA",
        format="png",
        label=label,
        brush=brush,
        transforms=(),
        layers=False,
        elem_id=name,
        height=460,
    )


def picture(name: str) -> gr.Image:
    """A picture as the file that was given."""
    return gr.Image(type="filepath", image_mode=None, label=texts.IMAGE, elem_id=name, height=360, format="png")

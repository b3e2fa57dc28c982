"""How the page looks, and the components that it uses more than once."""

import gradio as gr
from PIL import Image

from textir_hf.space import texts

CSS = """
.gradio-container {max-width: min(1280px, 100vw) !important; margin: auto}
footer {opacity: .7}
"""


def theme() -> gr.themes.Base:
    """Quiet grays, and fonts that every machine has."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    return gr.themes.Soft(primary_hue="teal", neutral_hue="stone", font=fonts, font_mono=("ui-monospace", "monospace"))


def _files_only(component):
    """Makes a component take uploaded files only: the server fetches no addresses for visitors."""
    move = component.async_move_resource_to_block_cache

    async def checked(url_or_file_path):
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error(texts.NO_URL, print_exception=False)
        return await move(url_or_file_path)

    component.async_move_resource_to_block_cache = checked
    return component


def editor(label: str, name: str) -> gr.ImageEditor:
    """A picture to paint a mask on, with a brush that paints white."""
    brush = gr.Brush(default_size="auto", colors=["#ffffff"], default_color="#ffffff", color_mode="fixed")
    options = {"type": "pil", "image_mode": "RGBA", "format": "png", "transforms": (), "layers": False}
    canvas = gr.ImageEditor(label=label, brush=brush, elem_id=name, height=460, **options)
    decode = canvas.preprocess

    def preprocess(payload):
        try:
            return decode(payload)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise gr.Error(texts.NO_PICTURE, print_exception=False) from error

    canvas.preprocess = preprocess
    return _files_only(canvas)


def picture(name: str, label: str = texts.IMAGE, height: int = 360) -> gr.Image:
    """A picture to upload, paste or take, handed on as the path of the very file that was given."""
    image = gr.Image(type="filepath", label=label, elem_id=name, height=height, format="png")
    image.preprocess = lambda payload: payload.path if payload else None
    return _files_only(image)

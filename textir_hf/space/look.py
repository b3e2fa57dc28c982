"""How the page looks, and the components that it uses more than once."""

import gradio as gr
from PIL import Image

from textir_hf.space import texts

CSS = """
.gradio-container {max-width: 1280px !important; margin: auto}
footer {opacity: .7}
"""


def theme() -> gr.themes.Base:
    """Quiet greys, and fonts that every machine has."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    return gr.themes.Soft(primary_hue="teal", neutral_hue="stone", font=fonts, font_mono=("ui-monospace", "monospace"))


def _check_upload(where: str) -> None:
    """Refuses what is no uploaded file: the server fetches no addresses for visitors."""
    if str(where).lower().startswith(("http:", "https:")):
        raise gr.Error(texts.NO_URL, print_exception=False)


class PictureFile(gr.Image):
    """A picture, handed on as the path of the very file that was given."""

    is_template = True  # drawn in the browser as the class that it extends

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        _check_upload(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def preprocess(self, payload):
        return payload.path if payload else None


class MaskEditor(gr.ImageEditor):
    """A picture to paint a mask on."""

    is_template = True

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        _check_upload(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def preprocess(self, payload):
        try:
            return super().preprocess(payload)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise gr.Error(texts.NO_PICTURE, print_exception=False) from error


def editor(label: str, name: str) -> MaskEditor:
    """An editor whose brush paints white."""
    brush = gr.Brush(default_size="auto", colors=["#ffffff"], default_color="#ffffff", color_mode="fixed")
    options = {"type": "pil", "image_mode": "RGBA", "format": "png", "transforms": (), "layers": False}
    return MaskEditor(label=label, brush=brush, elem_id=name, height=460, **options)


def picture(name: str, label: str = texts.IMAGE, height: int = 360) -> PictureFile:
    """A picture to upload, paste or take."""
    return PictureFile(type="filepath", label=label, elem_id=name, height=height, format="png")

"""TextIR: image restoration that a sentence steers."""

from textir_hf._version import __version__
from textir_hf.clip import MiniCLIPConfig, MiniCLIPModel, TextRecentering
from textir_hf.generator import TextIRGenerator
from textir_hf.grid import sweep
from textir_hf.images import open_image, save_image
from textir_hf.pipeline import TextIRPipeline
from textir_hf.scale import estimate_scale

__all__ = [
    "MiniCLIPConfig",
    "MiniCLIPModel",
    "TextIRGenerator",
    "TextIRPipeline",
    "TextRecentering",
    "__version__",
    "estimate_scale",
    "open_image",
    "save_image",
    "sweep",
]

"""TextIR: image restoration that a sentence steers."""

from textir_hf._version import __version__
from textir_hf.clip import MiniCLIPConfig, MiniCLIPModel, TextRecentering
from textir_hf.generator import TextIRGenerator
from textir_hf.pipeline import TextIRPipeline

__all__ = ["MiniCLIPConfig", "MiniCLIPModel", "TextIRGenerator", "TextIRPipeline", "TextRecentering", "__version__"]

"""The networks. Importing this package tells transformers' Auto classes of the embedded dual encoder."""

from textir_hf.models import encoder as encoder

"""Draws the samples of the embedded checkpoints' cards: each one's rows of the demonstration.

python -m model_cards.samples  # or: make samples
"""

from pathlib import Path

from textir_hf import save_image
from textir_hf.cli.demo import DAMAGED, restored_rows
from textir_hf.imaging.grid import draw_grid

SAMPLES = Path(__file__).parent / "samples"


def main() -> None:
    """Writes a sheet of samples for each checkpoint."""
    for checkpoint in DAMAGED:
        path = SAMPLES / f"{checkpoint}.jpg"
        save_image(draw_grid(restored_rows(checkpoint), 144), path)
        print(path.name)


if __name__ == "__main__":
    main()

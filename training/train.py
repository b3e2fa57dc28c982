"""Trains a TextIR generator for one task, on a laptop or on many GPUs.

accelerate launch -m training.train --preset textir-mini-inpainting --dataset faces.parquet --output-dir runs/faces
accelerate launch -m training.train --preset inpainting-ffhq-256 --dataset ffhq --masks masks --output-dir runs/ffhq
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 (something does not fit or cannot be written) or 128 + a signal's number."""
    try:
        from training.arguments import parse
        from training.interrupt import Interrupted
        from training.loop import train

        print(f"Pipeline: {train(parse(argv))}")
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("Interrupted. What was saved before is whole.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

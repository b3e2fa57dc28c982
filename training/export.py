"""Makes a checkpoint of a training run: the averaged network and the recentring in fp16, with their index.

python -m training.export RUN CHECKPOINT
"""

import argparse
import tempfile
from pathlib import Path

from diffusers import ModelMixin

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.clip import ENCODER


def export(run: Path, checkpoint: Path, encoder: str = ENCODER, output_scale: float | None = None) -> None:
    """Writes the pipeline's folder without the dual encoder, which all embedded checkpoints share.

    Args:
        run: Output folder of `training.train`.
        checkpoint: The folder to write; an older one is replaced when all is written.
        encoder: Name of the dual encoder that the run used.
        output_scale: Replaces the network's: a mean over many possible colours is paler than any of them.
    """
    restorer, moved = _half(TextIRGenerator, run / "pipeline" / "restorer"), run / "pipeline" / "recentering"
    if output_scale is not None:
        restorer.register_to_config(output_scale=output_scale)
    recentering = _half(TextRecentering, moved) if moved.is_dir() else None
    pipe = TextIRPipeline(restorer, None, None, None, recentering, encoder)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as folder:
        whole = Path(folder) / "whole"
        pipe.save_pretrained(whole)
        if checkpoint.exists():
            checkpoint.rename(Path(folder) / "old")
        whole.rename(checkpoint)


def _half(kind: type[ModelMixin], folder: Path) -> ModelMixin:
    """The module of a folder in fp16, without that folder's name in its config."""
    trained = kind.from_pretrained(folder)
    module = kind(**{key: value for key, value in trained.config.items() if not key.startswith("_")})
    module.load_state_dict(trained.state_dict())
    return module.half()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output_scale", type=float, help="of the network, in place of the run's")
    args = parser.parse_args()
    export(args.run, args.checkpoint, output_scale=args.output_scale)
    print(f"Wrote {args.checkpoint}")


if __name__ == "__main__":
    main()

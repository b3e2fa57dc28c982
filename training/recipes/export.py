"""Makes a checkpoint of a training run, or of the mean of several: network and recentering in fp16, with their index.

python -m training.recipes.export RUN [RUN ...] CHECKPOINT
"""

import argparse
from pathlib import Path

import torch
from diffusers import ModelMixin

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.atomic import replacing
from textir_hf.models.embedding import ENCODER


def export(runs: list[Path], checkpoint: Path, encoder: str = ENCODER, output_scale: float | None = None) -> None:
    """Writes the pipeline's folder without the dual encoder, which all embedded checkpoints share.

    Args:
        runs: Output folders of `training.train`. Of several, the networks' weights are averaged (Wortsman et al., 2022:
            Model soups), which serves if they started from the same ones; the recentering is the first run's.
        checkpoint: The folder to write; an older one is replaced when all is written.
        encoder: Name of the dual encoder that the run used.
        output_scale: Replaces the network's: a mean over many possible colors is paler than any of them.

    Raises:
        ValueError: The runs' networks are not built alike.
    """
    restorer = _mean(TextIRGenerator, [run / "pipeline" / "restorer" for run in runs])
    if output_scale is not None:
        restorer.register_to_config(output_scale=output_scale)
    moved = runs[0] / "pipeline" / "recentering"
    recentering = _mean(TextRecentering, [moved]) if moved.is_dir() else None
    pipe = TextIRPipeline(restorer, None, None, None, recentering, encoder)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with replacing(checkpoint) as temporary:
        pipe.save_pretrained(temporary)


def _mean(kind: type[ModelMixin], folders: list[Path]) -> ModelMixin:
    """The mean of the modules of these folders in fp16, without the folders' names in its config."""
    trained = [kind.from_pretrained(folder) for folder in folders]
    configs = [{key: value for key, value in t.config.items() if not key.startswith("_")} for t in trained]
    for folder, config in zip(folders, configs, strict=True):
        unlike = [key for key, value in config.items() if value != configs[0][key]]
        if unlike:
            raise ValueError(
                f"{folder} differs from {folders[0]} in {', '.join(unlike)}: only networks built alike have a mean."
            )
    states = [t.state_dict() for t in trained]
    module = kind(**configs[0])
    module.load_state_dict({key: torch.stack([s[key] for s in states]).mean(0) for key in states[0]})
    return module.half()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    parser.add_argument("--output-scale", type=float, help="of the network, in place of the run's")
    args = parser.parse_args()
    export(args.runs, args.checkpoint, output_scale=args.output_scale)
    print(f"Wrote {args.checkpoint}")


if __name__ == "__main__":
    main()

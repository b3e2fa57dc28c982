"""Whether stacking images pays: the embedded checkpoints with batch_size 1 and 4, in one run.

    python -m benchmarks.batches

Both take turns, and the best of the rounds counts; the ratio is what matters, for times depend on the machine.
"""

import argparse
import os

import numpy as np
import torch
from PIL import Image

from benchmarks.generator import best_seconds
from textir_hf import TextIRPipeline
from textir_hf.tasks import embedded_checkpoints

BATCH = 4


def images(count: int, side: int) -> list[Image.Image]:
    """Smooth random images."""
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC) for pixels in small]


def measure(checkpoint: str, count: int, rounds: int) -> tuple[str, dict[int, float], float]:
    """Restores images one by one and stacked.

    Args:
        checkpoint: An embedded one.
        count: Images in a call.
        rounds: Calls of either kind.

    Returns:
        The task, the seconds of a call by batch size, and the largest difference of a pixel in levels of 255.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    pipe = TextIRPipeline.from_pretrained(checkpoint).to(device)
    pipe.set_progress_bar_config(disable=True)
    side = pipe.restorer.config.sample_size
    sources, condition, arguments = images(count, side), pipe.encode_prompt("a face"), pipe.task.example(side)
    results = {}

    def restore(batch_size: int) -> None:
        output = pipe(
            image=sources, prompt_embeds=condition, batch_size=batch_size, output_type="np", **arguments
        ).images
        results[batch_size] = output * 255

    seconds = best_seconds({size: lambda size=size: restore(size) for size in (1, BATCH)}, rounds)
    return pipe.task.name, seconds, float(np.abs(results[1] - results[BATCH]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="in a call (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="calls of either kind (%(default)s)")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, {args.images} images a call\n")
    heads = (
        "task",
        "batch 1 (ms an image)",
        f"batch {BATCH} (ms an image)",
        "times faster",
        "largest difference (/255)",
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for checkpoint in embedded_checkpoints():
        task, seconds, difference = measure(checkpoint, args.images, args.rounds)
        single, stacked = (1e3 * seconds[size] / args.images for size in (1, BATCH))
        print(f"| {task} | {single:.1f} | {stacked:.1f} | {single / stacked:.2f} | {difference:.1f} |", flush=True)


if __name__ == "__main__":
    main()

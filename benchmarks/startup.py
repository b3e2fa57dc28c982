"""Where the time of the first image goes, and how fast the command line answers without a network.

    python -m benchmarks.startup

Each measurement runs in processes of its own, one after the other; the fastest of several rounds counts.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

FIRST_IMAGE = """
import json, time
stages, start = {}, time.perf_counter()
def stage(name):
    global start
    stages[name], start = time.perf_counter() - start, time.perf_counter()
import torch
stage("import torch")
import transformers.modeling_utils
stage("import transformers")
import diffusers.pipelines.pipeline_utils
stage("import diffusers")
from textir_hf import TextIRPipeline
stage("import textir_hf")
pipe = TextIRPipeline.from_pretrained("textir-mini-colorization")
stage("load the checkpoint")
from PIL import Image
image = Image.effect_noise((256, 256), 50)
pipe("a red flower", image)
stage("first image")
pipe("a blue flower", image)
stage("second image")
print(json.dumps(stages))
"""
HELP = ["--help"]
WRONG_OPTION = ["colorize", "in.png", "--prompt", "a", "-o", "out.png", "--wrong"]
WRONG_FILE = ["colorize", "none.png", "--prompt", "a", "-o", "out.png"]
WRONG_MASK = ["inpaint", "in.png", "--mask-image", "mask.png", "--prompt", "a", "-o", "out.png"]
COMPLETE = ["colorize", "in.png", "--prompt", "a red flower", "-o", "out.png"]


def seconds(arguments: list[str], folder: str) -> float:
    """How long a process of the command takes, in a folder with an image and a mask of another size."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "textir_hf", *arguments], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def breakdown() -> dict[str, float]:
    """Seconds of each stage up to the first image, and of a second one."""
    result = subprocess.run([sys.executable, "-c", FIRST_IMAGE], capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    with tempfile.TemporaryDirectory() as folder:
        Image.effect_noise((256, 256), 50).save(Path(folder) / "in.png")
        Image.new("L", (8, 8), "white").save(Path(folder) / "mask.png")
        commands = {
            "--help": HELP,
            "a wrong option": WRONG_OPTION,
            "a missing file": WRONG_FILE,
            "a mask of another size": WRONG_MASK,
            "an image, from the shell": COMPLETE,
        }
        print("| command | seconds |\n|---|---|")
        for name, arguments in commands.items():
            print(f"| {name} | {min(seconds(arguments, folder) for _ in rounds):.2f} |")
    stages = min((breakdown() for _ in rounds), key=lambda found: sum(found.values()))
    total = sum(stages.values()) - stages["second image"]
    print("\n| up to the first image | seconds | share |\n|---|---|---|")
    for name, value in stages.items():
        share = "" if name == "second image" else f"{100 * value / total:.0f} %"
        print(f"| {name} | {value:.2f} | {share} |")


if __name__ == "__main__":
    main()

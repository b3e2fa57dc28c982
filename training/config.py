"""All options of a training run, the recipes that set them, and how the commands of this folder end."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transformers import HfArgumentParser

from textir_hf.checks import check_range
from textir_hf.models.autoencoder import CELL
from textir_hf.tasks import TASKS, get_task

R1_EVERY = 16  # steps between two R1 penalties, each counting for all of them (lazy R1: StyleGAN2, App. B)
_LEAST = {  # the least value of some numbers
    **dict.fromkeys(("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "ema_half_life"), 1),
    **dict.fromkeys(("log_steps", "checkpointing_steps", "shuffle_buffer", "clip_every"), 1),
    **dict.fromkeys(("holdout", "max_minutes", "max_grad_norm", "embedding_noise"), 0),
    **{"learning_rate": 1e-12, "discriminator_rate": 1e-6, "dataloader_num_workers": 0},
}


def option(default, text: str):
    """A field with a help text; a list is copied for each config."""
    start = {"default_factory": default.copy} if isinstance(default, list) else {"default": default}
    return field(**start, metadata={"help": text})


@dataclass
class TrainingConfig:
    """One run. Defaults are the paper's (TextIR, Sec. 4.1 and Eq. 8), or the authors' release where it is silent."""

    preset: str | None = option(None, "a recipe whose values the other options change")
    task: str = option("inpainting", f"one of {', '.join(TASKS)}")
    output_dir: str = option("", "folder of the checkpoints, validation grids and the trained pipeline")

    dataset: list[str] | None = option(None, "folder of images, parquet files, WebDataset shards, or name on the Hub")
    image_column: str = option("image", "column of the images")
    caption_column: str | None = option(None, "column of captions, for recentering, validation and training under them")
    split_column: str | None = option(None, "column that names the split of each row")
    validation_split: str | None = option(None, "split to validate on, in place of --holdout")
    holdout: int = option(0, "number of images to hold out for validation")
    streaming: bool = option(False, "read the data as a stream, for sets larger than the disk")
    shuffle_buffer: int = option(10_000, "images that a stream shuffles at a time")
    preload: bool = option(False, "decode all images once, and keep them in memory as uint8")
    dataloader_num_workers: int = option(2, "processes that decode and degrade, for each training process")
    masks: str | None = option(None, "parquet file or folder of irregular masks, white = repaint")
    mask_mix: list[float] = option([1.0, 0.0, 0.0], "shares of irregular masks, brush strokes and boxes")
    cache_dir: str = option("~/.cache/textir_hf", "folder of the latents that --decoder needs")

    clip: str = option("textir-mini-clip", "the dual encoder: textir-mini-clip, a folder, or a Hub id")
    init_from: str | None = option(None, "folder of a run, to start from both networks, or of a restorer")
    sample_size: int = option(256, "side of the square training images, pixels, a power of two")
    channels: list[int] = option([128, 256, 512, 512, 512], "generator's width at each level, full size first")
    style_dim: int = option(512, "length of a style code")
    blocks: int = option(0, "residual blocks in each level of the generator, besides the paper's convolutions")
    decoder: Literal["taef2"] | None = option(None, "learn the latents of this frozen decoder, at 1/8 of the side")
    discriminator_channels: list[int] = option([128, 256, 512, 512], "as --channels, of the discriminator")
    face_template: Literal["portrait", "ffhq"] | None = option(None, "for aligned faces: where eyes and mouth are")

    lambda_clip: float = option(0.5, "weight of the CLIP loss against L1")
    clip_every: int = option(1, "take the CLIP loss of every k-th image of a batch; latents are decoded for it")
    lambda_perceptual: float = option(0.01, "weight of the perceptual loss, on VGG16 or the decoder's first blocks")
    lambda_adversarial: float = option(0.01, "weight of the adversarial loss")
    lambda_matching: float = option(0.0, "weight of matching the discriminator's features; with --decoder")
    adversarial_start: int = option(0, "step from which the discriminator takes part")
    r1_weight: float = option(10.0, "weight of the R1 penalty, and of R2 with --decoder")
    embedding_noise: float = option(0.0, "length of the noise added to the condition (CapDec)")
    swap_probability: float = option(0.0, "share of the images restored under another one's condition; with --decoder")
    condition_dropout: float = option(0.0, "share of the images restored under the empty prompt")
    caption_probability: float = option(0.0, "share of the images restored under one of their captions")

    train_batch_size: int = option(8, "images in one process at a time; even with --decoder")
    gradient_accumulation_steps: int = option(1, "batches in one update")
    max_train_steps: int = option(300_000, "updates in all")
    max_minutes: float = option(0.0, "stop after so many minutes; 0 = never")
    learning_rate: float = option(2e-3, "Adam's, of both networks")
    discriminator_rate: float = option(1.0, "factor of the learning rate for the discriminator")
    lr_scheduler: Literal["constant", "cosine"] = option("constant", "cosine: to 0 over --max-minutes, else the steps")
    max_grad_norm: float = option(0.0, "longer gradients are cut to this norm; 0 = never")
    beta1: float = option(0.0, "Adam's momentum of the generator; the discriminator has none")
    ema_half_life: int = option(5000, "images after which an old weight counts half in the average")
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(None, "else what accelerate is set to")

    seed: int = option(0, "decides everything random")
    log_steps: int = option(10, "steps between two readings of the losses; other steps never wait for a GPU")
    checkpointing_steps: int = option(5000, "steps between two checkpoints, each with a validation")
    resume_from_checkpoint: str | None = option(None, 'a checkpoint\'s folder, or "latest"')
    lpips: str | None = option(None, "safetensors file of LPIPS, for validation")
    report_to: Literal["tensorboard", "wandb", "trackio"] | None = option(None, "tracker besides metrics.jsonl")

    @property
    def patch_size(self) -> int:
        """Side in pixels of the cells that the generator's levels begin with."""
        return CELL if self.decoder else 1

    @property
    def held_out_rows(self) -> int:
        """How many of the first training rows are held out."""
        return 0 if self.validation_split else self.holdout

    def check(self) -> None:
        """Checks everything that can be checked before the data are opened."""
        task, stride, size = get_task(self.task), self.patch_size * 2 ** (len(self.channels) - 1), self.sample_size
        for name, least in _LEAST.items():
            check_range(flag(name), getattr(self, name), least)
        for name in ("condition_dropout", "caption_probability", "swap_probability"):
            check_range(flag(name), getattr(self, name), 0, 1)
        mix, latent, batch = self.mask_mix, self.decoder is not None, self.train_batch_size
        if not self.dataset:
            problem = "--dataset must name the data: a folder, files, or a data set on the Hub."
        elif not self.output_dir:
            problem = "--output-dir must be given: the folder of the run."
        elif size < 1 or size % stride or (not latent and size & (size - 1)):  # images' discriminator halves it
            problem = f"--sample-size must be a multiple of {stride}, without --decoder a power of two, got {size}."
        elif len(mix) != 3 or min(mix) < 0 or abs(sum(mix) - 1) > 1e-6:
            problem = f"--mask-mix must be three shares from 0 that sum to 1, got {mix}."
        elif "mask_image" in task.requires and mix[0] and not self.masks:
            problem = f"--masks must be given for {mix[0]:.0%} of --mask-mix. Or draw all masks: --mask-mix 0 0.5 0.5."
        elif latent and batch % 2:
            problem = f"--train-batch-size must be even with --decoder, got {batch}: images are also judged in pairs."
        elif latent and batch % self.clip_every:
            problem = f"--train-batch-size must be a multiple of --clip-every {self.clip_every}, got {batch}."
        elif self.swap_probability and not (latent and self.lambda_clip):
            problem = "--swap-probability needs --decoder and --lambda-clip: only the CLIP loss asks for the other one."
        elif self.streaming and (latent or self.preload):
            problem = "--streaming reads rows as they are needed: it takes neither --decoder nor --preload."
        elif self.caption_probability and not self.caption_column:
            problem = "--caption-probability needs --caption-column, the captions to restore under."
        elif self.report_to and find_spec(self.report_to) is None:
            problem = f"--report-to {self.report_to} needs its package: pip install {self.report_to}."
        else:
            return
        raise ValueError(problem)

    def save(self, path: Path) -> None:
        """Writes the config as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2))


# Two processes of 8 images make the paper's batch of 16: `accelerate launch --num_processes 2 -m training.train`.
_PAPER = TrainingConfig(clip="openai/clip-vit-base-patch32")
_MINI = TrainingConfig(  # masks are drawn, so that a folder of images is all that a run needs
    holdout=16,
    mask_mix=[0.0, 0.4, 0.6],
    lambda_perceptual=0.0,
    embedding_noise=0.2,
    style_dim=128,
    max_train_steps=4000,
    beta1=0.9,
    checkpointing_steps=250,
)
_LATENT = replace(
    _MINI,
    channels=[128, 160, 192],
    blocks=1,
    decoder="taef2",
    discriminator_channels=[96, 128, 192],
    lambda_clip=0.25,
    clip_every=8,
    lambda_perceptual=1.0,
    swap_probability=0.3,
    lambda_adversarial=0.12,
    lambda_matching=1.0,
    adversarial_start=1000,
    condition_dropout=0.1,
    train_batch_size=16,
    discriminator_rate=0.1,
    beta1=0.0,
    max_grad_norm=1.0,
    ema_half_life=3000,
)
PRESETS = {
    "inpainting-ffhq-256": _PAPER,
    "super-resolution-ffhq-512": replace(
        _PAPER,
        task="super-resolution",
        sample_size=512,
        channels=[64, 128, 256, 512, 512, 512],
        discriminator_channels=[64, 128, 256, 512, 512],
        lambda_clip=0.1,
    ),
    "colorization-imagenet-256": replace(_PAPER, task="colorization", lambda_clip=0.1),
    "textir-mini-inpainting": _LATENT,
    "textir-mini-super-resolution": replace(_LATENT, task="super-resolution"),
    "textir-mini-colorization": replace(
        _MINI,
        task="colorization",
        sample_size=128,
        channels=[32, 64, 128, 192],
        discriminator_channels=[16, 32, 64, 128],
        lambda_clip=1.0,
        lambda_adversarial=0.02,
        adversarial_start=1500,
    ),
}
# where the recipe comes from, and the result that it should reach
SOURCES = dict.fromkeys(PRESETS, "textir_hf: sized for two CPU cores") | {
    "inpainting-ffhq-256": "TextIR, Sec. 4.1: FFHQ at 256x256, batch 16, 300,000 steps, irregular masks. It should "
    "reach: Table 1, Multi-Modal-CelebA-HQ: PSNR 29.83, SSIM 0.932, LPIPS 0.068",
    "super-resolution-ffhq-512": "TextIR, Sec. 4.1: FFHQ at 512x512, batch 16, 300,000 steps, factors 4 to 64. It "
    "should reach: Table 3, Multi-Modal-CelebA-HQ at 16x: PSNR 27.41, SSIM 0.784, LPIPS 0.227",
    "colorization-imagenet-256": "TextIR, Sec. 4.1: ImageNet at 256x256, batch 16, 300,000 steps. It should reach: "
    "Table 2, COCO-Stuff: PSNR 26.70, SSIM 0.923, LPIPS 0.124",
}


def flag(name: str) -> str:
    """The command line's name of an option."""
    return f"--{name.replace('_', '-')}"


def parse(argv: list[str] | None = None) -> TrainingConfig:
    """The config of a command line: a preset, and any option over it."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=PRESETS)
    name = first.parse_known_args(argv)[0].preset
    usage = "accelerate launch -m training.train --preset PRESET --dataset DATASET --output-dir DIR [OPTION ...]"
    parser = HfArgumentParser(TrainingConfig, usage=usage, allow_abbrev=False)
    if name is not None:
        parser.set_defaults(**asdict(PRESETS[name]))
    return TrainingConfig(**vars(parser.parse_args(argv)))


def run_command(work: Callable[[], str], interrupted: str) -> int:
    """Does the work, prints the line that it returns, and returns 0, 1 (an error) or 128 + a signal's number.

    `work` raises KeyboardInterrupt with the signal's number and a message if it ended in order; `interrupted` is the
    message where Ctrl-C ended it anywhere else.
    """
    try:
        print(work())
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        number, message = stop.args or (signal.SIGINT, interrupted)
        print(f"Interrupted. {message}", file=sys.stderr)
        return 128 + number
    return 0

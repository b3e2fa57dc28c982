"""All options of a training run, in one flat dataclass."""

import argparse
import json
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transformers import HfArgumentParser

from textir_hf.atomic import replacing
from textir_hf.checks import check_range
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.models.autoencoder import CELL
from textir_hf.tasks import TASKS, get_task

_AT_LEAST = {  # the least value of each number that has one
    "train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_train_steps": 1,
    "ema_half_life": 1,
    "log_steps": 1,
    "checkpointing_steps": 1,
    "shuffle_buffer": 1,
    "r1_every": 1,
    "holdout": 0,
    "max_minutes": 0,
    "max_grad_norm": 0,
    "dataloader_num_workers": 0,
    "latent_limit": 0,
    "embedding_noise": 0,
    "learning_rate": 1e-12,
    "discriminator_rate": 1e-6,
}


def option(default, text: str):
    """A field with a help text; a list is copied for each config."""
    metadata = {"help": text}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class TrainingConfig:
    """One run. The defaults are the paper's (TextIR, Sec. 4.1 and Eq. 8), or the authors' release where it is silent.

    Raises:
        ValueError: A value is out of range, or two options do not go together.
    """

    preset: str | None = option(None, "a recipe whose values the other options change")
    task: str = option("inpainting", f"one of {', '.join(TASKS)}")
    output_dir: str = option("", "folder of the checkpoints, validation grids and the trained pipeline")

    dataset: list[str] | None = option(
        None, "a folder of images, parquet files, tar shards (WebDataset), or a data set on the Hub"
    )
    image_column: str = option("image", "column of the images")
    caption_column: str | None = option(
        None, "column of captions, one or several a row: for recentering, validation and --caption-probability"
    )
    split_column: str | None = option(None, "column that names the split of each row")
    validation_split: str | None = option(None, "split to validate on, in place of --holdout")
    holdout: int = option(0, "number of images to hold out for validation")
    streaming: bool = option(False, "read the data as a stream, for sets larger than the disk")
    shuffle_buffer: int = option(10_000, "images that a stream shuffles at a time")
    preload: bool = option(False, "decode all images once, and keep them in memory")
    dataloader_num_workers: int = option(2, "processes that decode and degrade, for each training process")
    masks: str | None = option(None, "parquet file or folder of irregular masks, white = repaint")
    mask_mix: list[float] = option([1.0, 0.0, 0.0], "shares of irregular masks, brush strokes and boxes")
    valid_column: str | None = option(
        None, "with --decoder, column of masks: white = part of the photo, black = beyond its border"
    )
    cache_dir: str = option("~/.cache/textir_hf", "folder of the latents that --decoder needs")
    latent_limit: int = option(0, "encode only so many images before the run starts; 0 = all, plain and mirrored")

    clip: str = option("textir-mini-clip", "the dual encoder: textir-mini-clip, a folder, or a Hub id")
    init_from: str | None = option(
        None, "folder of a run, to start from both its networks, or of a restorer, to start from that"
    )
    sample_size: int = option(256, "side of the square training images, pixels, a power of two")
    channels: list[int] = option([128, 256, 512, 512, 512], "generator's width at each level, full size first")
    style_dim: int = option(512, "length of a style code")
    blocks: int = option(0, "residual blocks in each level of the generator, besides the paper's convolutions")
    decoder: Literal["taef2"] | None = option(
        None, "learn latents at 1/8 of the side, which this frozen decoder turns into images"
    )
    discriminator_channels: list[int] = option(
        [128, 256, 512, 512], "discriminator's width at each size, full size first"
    )
    face_template: str | None = option(
        None,
        f"for aligned faces, where eyes and mouth are: {', '.join(FACE_TEMPLATES)}, or x and y of the eyes and the "
        "mouth's corners in shares of the side, such as 0.3,0.5,0.6,0.5,0.4,0.8,0.6,0.8",
    )

    lambda_l1: float = option(1.0, "weight of the L1 loss")
    lambda_clip: float = option(0.5, "weight of the CLIP loss; 0 with --decoder")
    lambda_perceptual: float = option(0.01, "weight of VGG16's perceptual loss; 0 with --decoder")
    lambda_adversarial: float = option(0.01, "weight of the adversarial loss")
    lambda_matching: float = option(0.0, "weight of matching the discriminator's features, an addition to Eq. 8")
    vgg: str = option("timm/vgg16.tv_in1k", "VGG16: a safetensors file, or a Hub id")
    adversarial_start: int = option(0, "step from which the discriminator takes part")
    r1_weight: float = option(10.0, "weight of the R1 penalty; without --decoder")
    r1_every: int = option(16, "steps between two R1 penalties, each counting for all of them")
    embedding_noise: float = option(0.0, "length of the noise added to the condition (CapDec)")
    condition_dropout: float = option(0.0, "share of the images restored under the empty prompt")
    caption_probability: float = option(0.0, "share of the images restored under one of their captions")

    train_batch_size: int = option(8, "images in one process at a time; even with --decoder")
    gradient_accumulation_steps: int = option(1, "batches in one update")
    max_train_steps: int = option(300_000, "updates in all")
    max_minutes: float = option(0.0, "stop after so many minutes; 0 = never")
    learning_rate: float = option(2e-3, "Adam's, of both networks")
    discriminator_rate: float = option(1.0, "factor of the learning rate for the discriminator")
    lr_scheduler: Literal["constant", "cosine"] = option(
        "constant", "cosine falls to 0 over --max-minutes if given, else over --max-train-steps"
    )
    max_grad_norm: float = option(0.0, "longer gradients are cut to this norm; 0 = never")
    beta1: float = option(0.0, "Adam's momentum of the generator; the discriminator has none")
    ema_half_life: int = option(5000, "images after which an old weight counts half in the average")
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(None, "else what accelerate is set to")
    compile: bool = option(False, "compile both networks with torch.compile")

    seed: int = option(0, "decides everything random")
    log_steps: int = option(10, "steps between two readings of the losses; other steps never wait for a GPU")
    checkpointing_steps: int = option(5000, "steps between two checkpoints, each with a validation")
    resume_from_checkpoint: str | None = option(None, 'a checkpoint\'s folder, or "latest"')
    lpips: str | None = option(None, "safetensors file of LPIPS, for validation")
    report_to: Literal["tensorboard", "wandb", "trackio"] | None = option(None, "tracker besides metrics.jsonl")
    hub_model_id: str | None = option(None, "owner/name of the repository to push the trained pipeline to")

    def __post_init__(self) -> None:
        get_task(self.task)
        for name, least in _AT_LEAST.items():
            check_range(flag(name), getattr(self, name), least)
        for name in ("condition_dropout", "caption_probability"):
            check_range(flag(name), getattr(self, name), 0, 1)
        if len(self.mask_mix) != 3 or min(self.mask_mix) < 0 or abs(sum(self.mask_mix) - 1) > 1e-6:
            raise ValueError(f"--mask-mix must be three shares from 0 that sum to 1, got {self.mask_mix}.")
        stride = self.patch_size * 2 ** (len(self.channels) - 1)
        if self.sample_size % stride or self.sample_size & (self.sample_size - 1):
            raise ValueError(
                f"--sample-size must be a power of two and a multiple of {stride} for {len(self.channels)} levels, "
                f"got {self.sample_size}."
            )
        self.face_points()

    @property
    def patch_size(self) -> int:
        """Side in pixels of the cells that the generator's levels begin with."""
        return CELL if self.decoder else 1

    @property
    def held_out_rows(self) -> int:
        """How many of the first training rows are held out."""
        return 0 if self.validation_split else self.holdout

    def face_points(self) -> tuple[tuple[float, float], ...] | None:
        """The face template as four pairs of x and y; None if the training images are not aligned faces.

        Raises:
            ValueError: It is neither a name nor eight numbers.
        """
        if not self.face_template or self.face_template in FACE_TEMPLATES:
            return FACE_TEMPLATES.get(self.face_template or "")
        try:
            x1, y1, x2, y2, x3, y3, x4, y4 = (float(share) for share in self.face_template.split(","))
        except ValueError as error:
            raise ValueError(
                f"--face-template must be {', '.join(FACE_TEMPLATES)} or eight numbers, got {self.face_template}."
            ) from error
        return ((x1, y1), (x2, y2), (x3, y3), (x4, y4))

    def check_inputs(self) -> None:
        """Checks what a preset leaves open.

        Raises:
            ValueError: A needed option is missing, or two options do not go together.
        """
        if not self.dataset:
            raise ValueError("--dataset must name the data: a folder, files, or a data set on the Hub.")
        if not self.output_dir:
            raise ValueError("--output-dir must be given: the folder of the run.")
        if "mask_image" in get_task(self.task).requires and self.mask_mix[0] and not self.masks:
            raise ValueError(
                f"--mask-mix takes {self.mask_mix[0]:.0%} of the masks from --masks, which is not given. Name a "
                "parquet file or folder of masks, or draw all of them: --mask-mix 0 0.5 0.5."
            )
        if self.decoder and (self.lambda_clip or self.lambda_perceptual):
            raise ValueError("--decoder trains on latents: set --lambda-clip 0 and --lambda-perceptual 0.")
        if self.decoder and get_task(self.task).out_channels != 3:
            raise ValueError(f"--decoder makes whole images, and --task {self.task} does not.")
        if self.decoder and self.train_batch_size % 2:
            raise ValueError(
                f"--train-batch-size must be even with --decoder, got {self.train_batch_size}: the discriminator sees "
                "the images of a pair under each other's condition."
            )
        if self.streaming and (self.decoder or self.preload):
            raise ValueError("--streaming reads rows as they are needed: it takes neither --decoder nor --preload.")
        if self.caption_probability and not self.caption_column:
            raise ValueError("--caption-probability needs --caption-column, the captions to restore under.")
        if self.report_to and find_spec(self.report_to) is None:
            raise ValueError(f"--report-to {self.report_to} needs its package: pip install {self.report_to}.")

    def save(self, path: Path) -> None:
        """Writes the config as JSON."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2))


def flag(name: str) -> str:
    """The command line's name of an option."""
    return f"--{name.replace('_', '-')}"


def parse(argv: list[str] | None = None) -> TrainingConfig:
    """The config of a command line: a preset, and any option over it.

    Raises:
        ValueError: The preset is unknown, or a value does not fit.
    """
    from training.presets import PRESETS  # which are configs themselves

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset")
    name = first.parse_known_args(argv)[0].preset
    if name is not None and name not in PRESETS:
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {name}.")
    usage = "accelerate launch -m training.train --preset PRESET --dataset DATASET --output-dir DIR [OPTION ...]"
    parser = HfArgumentParser(
        TrainingConfig, description="Trains a TextIR generator for one task.", usage=usage, allow_abbrev=False
    )
    if name is not None:
        parser.set_defaults(**asdict(PRESETS[name]))
    return TrainingConfig(**vars(parser.parse_args(argv)))

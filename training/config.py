"""Everything that decides a training run, and the recipes of the paper and of the embedded networks as presets."""

import argparse
import json
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path

from transformers import HfArgumentParser

TASKS = {  # task: in_channels, out_channels, strength_source, input_scale, output_scale
    "inpainting": (4, 3, "encoder", 1.0, 1.0),
    "super-resolution": (3, 3, "input", 1.0, 1.0),
    "colorization": (1, 2, "encoder", 0.01, 50.0),
}


def _help(text: str, **kwargs):
    return field(metadata={"help": text}, **kwargs)


@dataclass
class TrainingConfig:
    """One run. The defaults are the paper's (TextIR, Sec. 4.1 and Eq. 8; where it is silent, the authors' release)."""

    task: str = _help("inpainting, super-resolution or colorization", default="inpainting")
    output_dir: str = _help("where checkpoints, sheets and the trained pipeline go", default="")
    source: str = _help("where the recipe comes from", default="")
    expected: str = _help("the result that the recipe should reach", default="")

    dataset_name: str | None = _help("data set on the Hub", default=None)
    dataset_config: str | None = _help("configuration of that data set", default=None)
    train_data_dir: str | None = _help("folder of pictures, searched through", default=None)
    data_files: list[str] | None = _help("parquet files", default=None)
    image_column: str = _help("column of the pictures", default="image")
    caption_column: str | None = _help("column of captions: for recentering and for validation", default=None)
    split_column: str | None = _help('column saying "train" or "test" for each row', default=None)
    train_split: str = _help("split to train on", default="train")
    validation_split: str | None = _help("split to validate on", default=None)
    holdout: int = _help("without a validation split, so many pictures are held out", default=0)
    streaming: bool = _help("read the data as a stream, for sets larger than the disk", default=False)
    shuffle_buffer: int = _help("pictures that a stream shuffles at a time", default=10_000)
    dataloader_num_workers: int = _help("processes that decode and degrade, for each training process", default=2)
    masks: str | None = _help("parquet file or folder of hole masks, white = hole", default=None)
    cache_embeddings: bool = _help("embed all pictures once, and keep the result on disk", default=False)
    cache_dir: str = _help("folder of these embeddings", default="~/.cache/textir_hf")
    domain_texts: str | None = _help("text file of sentences, one a line, for recentering texts", default=None)

    clip: str = _help("the dual encoder: textir-mini-clip, a folder, or a Hub id", default="textir-mini-clip")
    vgg: str = _help("VGG16: a safetensors file, or a Hub id", default="timm/vgg16.tv_in1k")
    lpips: str | None = _help("safetensors file of LPIPS on AlexNet, for validation", default=None)
    init_from: str | None = _help(
        "folder of a network of any task to start from: its levels, or one more", default=None
    )

    sample_size: int = 256
    channels: list[int] = field(default_factory=lambda: [128, 256, 512, 512, 512])
    style_dim: int = 512
    discriminator_channels: list[int] = field(default_factory=lambda: [128, 256, 512, 512])
    train_batch_size: int = _help("pictures in one process at a time", default=8)
    gradient_accumulation_steps: int = 1
    max_train_steps: int = 300_000
    max_minutes: float = _help("stop after so many minutes; 0 = never", default=0.0)
    learning_rate: float = 2e-3
    beta1: float = _help("Adam's momentum of the generator; the discriminator has none", default=0.0)
    lambda_adversarial: float = 0.01
    lambda_clip: float = 0.5
    lambda_l1: float = 1.0
    lambda_perceptual: float = 0.01
    lambda_features: float = _help("weight of the embedded encoder's feature loss", default=0.0)
    clip_start: int = _help("step from which the CLIP loss counts", default=0)
    adversarial_start: int = _help("step from which the discriminator takes part", default=0)
    r1_weight: float = 10.0
    r1_every: int = 16
    noise: bool = _help("feed fine noise to the style convolutions", default=True)
    embedding_noise: float = _help("length of the noise added to the condition (CapDec)", default=0.0)
    least_crop: float = _help("half the pictures are cropped, to this share of their side or more", default=1.0)
    color_jitter: float = _help("half the pictures change brightness, contrast and tint by up to this", default=0.0)
    recolor_probability: float = _help(
        "share of the pictures whose object, where one stands apart from the rim, takes another color", default=0.0
    )
    swap_probability: float = _help(
        "share of the pictures restored towards another picture's embedding or a sentence; there L1 counts only "
        "where no condition may change anything, other losses against the target not at all",
        default=0.0,
    )
    recentering_gain: float = _help("multiplies the spread that recentering gives to texts", default=1.0)
    ema_half_life: int = _help("pictures after which an old weight counts half", default=5000)
    mixed_precision: str | None = _help("no, bf16 or fp16; else what accelerate is set to", default=None)
    gradient_checkpointing: bool = False

    checkpointing_steps: int = 5000
    checkpoints_total_limit: int = _help("older checkpoints are deleted; 0 keeps all", default=3)
    resume_from_checkpoint: str | None = _help('a checkpoint\'s folder, or "latest"', default=None)
    validation_steps: int = 5000
    validation_pictures: int = 16
    report_to: str | None = _help("tensorboard, wandb or trackio", default=None)
    push_to_hub: bool = False
    hub_model_id: str | None = _help("owner/name of the repository to push to", default=None)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}.")
        stride = 2 ** (len(self.channels) - 1)
        if self.sample_size % stride or self.sample_size & (self.sample_size - 1):
            raise ValueError(
                f"sample_size must be a power of two and a multiple of {stride} for {len(self.channels)} levels, "
                f"got {self.sample_size}."
            )
        for name in ("least_crop", "color_jitter", "recolor_probability", "swap_probability"):
            low = 0.1 if name == "least_crop" else 0.0
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between {low:g} and 1, got {getattr(self, name)}.")
        if self.recentering_gain <= 0:
            raise ValueError(f"recentering_gain must be above 0, got {self.recentering_gain}.")
        for name in ("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "r1_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def check_inputs(self) -> None:
        """What a preset leaves open.

        Raises:
            ValueError: Nothing or too much names the data, or another option lacks its partner.
        """
        given = [n for n in ("dataset_name", "train_data_dir", "data_files") if getattr(self, n)]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of --dataset_name, --train_data_dir and --data_files must name the data, "
                f"got {' and '.join(given) or 'none'}."
            )
        if not self.output_dir:
            raise ValueError("--output_dir must be given: where the run is kept.")
        if self.streaming and self.cache_embeddings:
            raise ValueError("A stream has no fixed rows whose embeddings could be cached: drop --cache_embeddings.")
        if self.cache_embeddings and (self.least_crop < 1 or self.color_jitter or self.recolor_probability):
            raise ValueError(
                "Pictures that are cropped or colored anew each time have no embedding that could be cached: set "
                "--cache_embeddings false, or leave --least_crop, --color_jitter and --recolor_probability out."
            )
        if self.report_to and self.report_to not in ("tensorboard", "wandb", "trackio"):
            raise ValueError(f"--report_to must be tensorboard, wandb or trackio, got {self.report_to}.")
        if self.report_to and find_spec(self.report_to) is None:
            raise ValueError(f"--report_to {self.report_to} needs its package: pip install {self.report_to}.")
        if self.push_to_hub and not self.hub_model_id:
            raise ValueError("--push_to_hub needs --hub_model_id owner/name.")

    def save(self, path: Path) -> None:
        """Writes the config as JSON, under a temporary name first."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=2))
        temporary.replace(path)


# Two processes of 8 pictures make the paper's batch of 16: `accelerate launch --num_processes 2 -m training.train`.
_PAPER = TrainingConfig(clip="openai/clip-vit-base-patch32")
_MINI = TrainingConfig(
    source="textir_hf: sized for two CPU cores",
    sample_size=128,
    channels=[32, 64, 128, 192],
    style_dim=128,
    discriminator_channels=[16, 32, 64, 128],
    split_column="split",
    train_batch_size=8,
    max_train_steps=4000,
    beta1=0.9,
    lambda_adversarial=0.02,
    lambda_perceptual=0.0,
    lambda_features=0.3,
    embedding_noise=0.2,
    clip_start=500,
    adversarial_start=1500,
    cache_embeddings=True,
    checkpointing_steps=250,
    validation_steps=250,
)
PRESETS = {
    "inpainting-ffhq-256": replace(
        _PAPER,
        source="TextIR, Sec. 4.1: FFHQ at 256x256, batch 16, 300,000 steps, irregular masks",
        expected="Table 1, Multi-Modal-CelebA-HQ: PSNR 29.83, SSIM 0.932, LPIPS 0.068",
    ),
    "super-resolution-ffhq-512": replace(
        _PAPER,
        task="super-resolution",
        sample_size=512,
        channels=[64, 128, 256, 512, 512, 512],
        discriminator_channels=[64, 128, 256, 512, 512],
        lambda_clip=0.1,
        source="TextIR, Sec. 4.1: FFHQ at 512x512, batch 16, 300,000 steps, factors 4 to 64",
        expected="Table 3, Multi-Modal-CelebA-HQ at 16x: PSNR 27.41, SSIM 0.784, LPIPS 0.227",
    ),
    "colorization-imagenet-256": replace(
        _PAPER,
        task="colorization",
        lambda_clip=0.1,
        source="TextIR, Sec. 4.1: ImageNet at 256x256, batch 16, 300,000 steps",
        expected="Table 2, COCO-Stuff: PSNR 26.70, SSIM 0.923, LPIPS 0.124",
    ),
    "textir-mini-inpainting": replace(_MINI, channels=[32, 32, 64, 128, 192], lambda_clip=0.6),
    "textir-mini-super-resolution": replace(
        _MINI, task="super-resolution", channels=[32, 32, 64, 128, 192], lambda_clip=0.3
    ),
    "textir-mini-colorization": replace(_MINI, task="colorization", lambda_clip=1.0, lambda_features=0.15),
}


def parse(argv: list[str] | None = None) -> TrainingConfig:
    """The command line: a preset, and any field over it.

    Raises:
        ValueError: The preset is unknown, or a value does not fit.
    """
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--preset")
    known, rest = first.parse_known_args(argv)
    if known.preset is not None and known.preset not in PRESETS:
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {known.preset}.")
    parser = HfArgumentParser(TrainingConfig, description=__doc__, parents=[first])
    parser.set_defaults(**asdict(PRESETS[known.preset] if known.preset else TrainingConfig()))
    values = vars(parser.parse_args(rest))
    return TrainingConfig(**{f.name: values[f.name] for f in fields(TrainingConfig)})

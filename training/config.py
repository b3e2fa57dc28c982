"""Everything that decides a training run, in five groups."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from textir_hf.atomic import replacing
from textir_hf.checks import check_range
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.models.autoencoder import CELL
from textir_hf.tasks import TASKS, get_task


def _help(text: str, **kwargs):
    return field(metadata={"help": text}, **kwargs)


@dataclass
class DataConfig:
    """Where the images come from and how they vary."""

    _argument_group_name = "data"

    dataset: list[str] | None = _help(
        "a folder of images, parquet files, tar shards (WebDataset), or a data set on the Hub", default=None
    )
    dataset_config: str | None = _help("configuration of a data set on the Hub", default=None)
    image_column: str = _help("column of the images", default="image")
    caption_column: str | None = _help(
        "column of captions, one or several a row: for recentering, validation and --caption-probability", default=None
    )
    split_column: str | None = _help("column that names the split of each row", default=None)
    train_split: str = _help("split to train on", default="train")
    validation_split: str | None = _help('split to validate on; "test" where there is a split column', default=None)
    holdout: int = _help("hold so many images out for validation, in place of a validation split", default=0)
    streaming: bool = _help("read the data as a stream, for sets larger than the disk", default=False)
    shuffle_buffer: int = _help("images that a stream shuffles at a time", default=10_000)
    dataloader_num_workers: int = _help("processes that decode and degrade, for each training process", default=2)
    masks: str | None = _help("parquet file or folder of irregular masks, white = repaint", default=None)
    mask_mix: list[float] = _help(
        "shares of irregular masks, brush strokes and boxes among the masks", default_factory=lambda: [1.0, 0.0, 0.0]
    )
    least_crop: float = _help("half the images are cropped, to this share of their side or more", default=1.0)
    color_jitter: float = _help("half the images change brightness, contrast and tint by up to this", default=0.0)
    object_mask_column: str | None = _help("column of masks of each image's object, white = object", default=None)
    preload: bool = _help("decode all images once, and keep them in memory", default=False)
    cache_embeddings: bool = _help("embed all images once, and keep the result on disk", default=False)
    cache_dir: str = _help("folder of these embeddings and of latents", default="~/.cache/textir_hf")
    latent_dir: str | None = _help("folder of latents, with --decoder; else one in --cache-dir", default=None)
    latent_limit: int = _help("encode so many images before the run starts; 0 = all, plain and mirrored", default=0)
    valid_column: str | None = _help(
        "column of masks of what an image shows, white = a part of the photo, black = beyond its border", default=None
    )
    domain_texts: str | None = _help("text file of sentences, one a line, for recentering", default=None)

    def __post_init__(self) -> None:
        check_range("--color-jitter", self.color_jitter, 0, 1)
        check_range("--least-crop", self.least_crop, 0.1, 1)
        check_range("--shuffle-buffer", self.shuffle_buffer, 1)
        if len(self.mask_mix) != 3 or min(self.mask_mix) < 0 or abs(sum(self.mask_mix) - 1) > 1e-6:
            raise ValueError(f"--mask-mix must be three shares from 0 that sum to 1, got {self.mask_mix}.")


@dataclass
class NetworkConfig:
    """The networks and what they start from."""

    _argument_group_name = "network"

    task: str = _help(f"one of {', '.join(TASKS)}", default="inpainting")
    clip: str = _help("the dual encoder: textir-mini-clip, a folder, or a Hub id", default="textir-mini-clip")
    init_from: str | None = _help("folder of a network of the same widths to start from, of any task", default=None)
    sample_size: int = _help("side of the square training images, pixels, a power of two", default=256)
    channels: list[int] = _help(
        "width of each level of the generator, full size first", default_factory=lambda: [128, 256, 512, 512, 512]
    )
    style_dim: int = _help("length of a style code", default=512)
    blocks: int = _help("residual blocks in each level, besides the paper's convolutions", default=0)
    decoder: Literal["taef2"] | None = _help(
        "learn latents at 1/8 of the side, which a frozen decoder makes images of", default=None
    )
    init_discriminator: str | None = _help("safetensors file of a discriminator to start from", default=None)
    discriminator: Literal["stylegan2", "projected", "latent"] = _help(
        "StyleGAN2's, which sees images alone, or heads on frozen features, which see mask and condition, too; "
        "with --decoder, one that sees latents, the degraded image and the condition",
        default="stylegan2",
    )
    discriminator_channels: list[int] = _help(
        "width of the discriminator, or of its head for the pixels, at each size, full size first",
        default_factory=lambda: [128, 256, 512, 512],
    )
    face_template: str | None = _help(
        f"where aligned training faces have their eyes and the mouth's corners: {', '.join(FACE_TEMPLATES)}, or x and "
        "y of the four in shares of the side, such as 0.3,0.5,0.6,0.5,0.4,0.8,0.6,0.8",
        default=None,
    )
    gradient_checkpointing: bool = _help("compute activations twice to save memory", default=False)

    def __post_init__(self) -> None:
        get_task(self.task)
        stride = self.patch_size * 2 ** (len(self.channels) - 1)
        if (self.decoder is not None) != (self.discriminator == "latent"):
            raise ValueError("--decoder and --discriminator latent go together: give both, or neither.")
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

    def face_points(self) -> tuple[tuple[float, float], ...] | None:
        """The face template as four pairs of x and y; None where the training images are no aligned faces."""
        if not self.face_template or self.face_template in FACE_TEMPLATES:
            return FACE_TEMPLATES.get(self.face_template or "")
        try:
            x1, y1, x2, y2, x3, y3, x4, y4 = (float(share) for share in self.face_template.split(","))
        except ValueError as error:
            raise ValueError(
                f"--face-template must be {', '.join(FACE_TEMPLATES)} or eight numbers, got {self.face_template}."
            ) from error
        return ((x1, y1), (x2, y2), (x3, y3), (x4, y4))


@dataclass
class ObjectiveConfig:
    """The losses (TextIR, Eq. 6 to 8) and the condition they are taken under."""

    _argument_group_name = "objective"

    lambda_adversarial: float = _help("weight of the adversarial loss", default=0.01)
    lambda_clip: float = _help("weight of the CLIP loss", default=0.5)
    lambda_l1: float = _help("weight of the L1 loss", default=1.0)
    lambda_perceptual: float = _help("weight of VGG16's perceptual loss", default=0.01)
    lambda_features: float = _help("weight of the embedded encoder's feature loss", default=0.0)
    lambda_matching: float = _help("weight of matching the latent discriminator's features", default=0.0)
    vgg: str = _help("VGG16: a safetensors file, or a Hub id", default="timm/vgg16.tv_in1k")
    clip_start: int = _help("step from which the CLIP loss counts", default=0)
    clip_every: int = _help("steps between two CLIP losses, each counting for all of them", default=1)
    adversarial_start: int = _help("step from which the discriminator takes part", default=0)
    r1_weight: float = _help("weight of the R1 penalty", default=10.0)
    r1_every: int = _help("steps between two R1 penalties, each counting for all of them", default=16)
    noise: Literal["none", "batch", "sample"] = _help(
        "fine noise for the style convolutions, drawn for a batch at once, or for each sample alone: slower, and the "
        "same for any number of processes",
        default="batch",
    )
    embedding_noise: float = _help("length of the noise added to the condition (CapDec)", default=0.0)
    swap_probability: float = _help(
        "share of the images restored towards another image's embedding or a sentence; there L1 counts only where no "
        "condition may change anything, and other losses against the target not at all",
        default=0.0,
    )
    condition_dropout: float = _help("share of the images restored under the empty sentence", default=0.0)
    caption_probability: float = _help(
        "share of the images restored under one of their captions in place of their own embedding", default=0.0
    )
    recentering_gain: float = _help("multiplies the spread that recentering gives to texts", default=1.0)

    def __post_init__(self) -> None:
        for name in ("swap_probability", "condition_dropout", "caption_probability"):
            check_range(_flag(name), getattr(self, name), 0, 1)
        check_range("--recentering-gain", self.recentering_gain, 1e-6)
        check_range("--clip-every", self.clip_every, 1)
        check_range("--r1-every", self.r1_every, 1)


@dataclass
class OptimizationConfig:
    """How the weights move."""

    _argument_group_name = "optimization"

    train_batch_size: int = _help("images in one process at a time", default=8)
    gradient_accumulation_steps: int = _help("batches in one update", default=1)
    max_train_steps: int = _help("updates in all", default=300_000)
    max_minutes: float = _help("stop after so many minutes; 0 = never", default=0.0)
    learning_rate: float = _help("Adam's, of both networks", default=2e-3)
    discriminator_rate: float = _help("what multiplies the learning rate for the discriminator", default=1.0)
    max_grad_norm: float = _help("longer gradients are cut to this norm; 0 = never", default=0.0)
    lr_scheduler: Literal["constant", "cosine", "clock"] = _help(
        "after the warm-up; clock is a cosine to 0 over --max-minutes", default="constant"
    )
    lr_warmup_steps: int = _help("updates in which the learning rate rises from 0", default=0)
    beta1: float = _help("Adam's momentum of the generator; the discriminator has none", default=0.0)
    ema_half_life: int = _help("images after which an old weight counts half", default=5000)
    mixed_precision: Literal["no", "bf16", "fp16"] | None = _help("else what accelerate is set to", default=None)
    tf32: bool = _help("TF32 in fp32 convolutions and matrix products on CUDA", default=True)
    compile: bool = _help("compile both networks with torch.compile", default=False)

    def __post_init__(self) -> None:
        for name in ("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "ema_half_life"):
            check_range(_flag(name), getattr(self, name), 1)
        check_range("--discriminator-rate", self.discriminator_rate, 1e-6)
        check_range("--lr-warmup-steps", self.lr_warmup_steps, 0)


@dataclass
class RunConfig:
    """Where the run is kept, and what it tells of itself."""

    _argument_group_name = "run"

    output_dir: str = _help("folder of the checkpoints, grids and the trained pipeline", default="")
    seed: int = _help("decides everything random", default=0)
    log_steps: int = _help("steps between two readings of the losses; other steps never wait for a GPU", default=10)
    checkpointing_steps: int = _help("steps between two checkpoints", default=5000)
    checkpoints_total_limit: int = _help("older checkpoints are deleted; 0 keeps all", default=3)
    resume_from_checkpoint: str | None = _help('a checkpoint\'s folder, or "latest"', default=None)
    validation_steps: int = _help("steps between two validations", default=5000)
    validation_images: int = _help("validate on at most so many images", default=16)
    lpips: str | None = _help("safetensors file of LPIPS, for validation", default=None)
    report_to: Literal["tensorboard", "wandb", "trackio"] | None = _help("tracker besides metrics.jsonl", default=None)
    push_to_hub: bool = _help("push the trained pipeline", default=False)
    hub_model_id: str | None = _help("owner/name of the repository to push to", default=None)

    def __post_init__(self) -> None:
        for name in ("log_steps", "checkpointing_steps", "validation_steps"):
            check_range(_flag(name), getattr(self, name), 1)


@dataclass
class TrainingConfig:
    """One run. The defaults are the paper's (TextIR, Sec. 4.1 and Eq. 8; where it is silent, the authors' release).

    Args:
        source: Where the recipe comes from.
        expected: The result that the recipe should reach.
    """

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    run: RunConfig = field(default_factory=RunConfig)
    source: str = ""
    expected: str = ""

    def replace(self, source: str | None = None, expected: str | None = None, **values) -> "TrainingConfig":
        """A copy with other values of fields, whatever their group."""
        groups = {}
        for name, kind in GROUPS.items():
            own = {f.name: values.pop(f.name) for f in fields(kind) if f.name in values}
            groups[name] = replace(getattr(self, name), **own)
        if values:
            raise ValueError(f"A training run has no {', '.join(values)}.")
        texts = (self.source if source is None else source, self.expected if expected is None else expected)
        return TrainingConfig(**groups, source=texts[0], expected=texts[1])

    def flat(self) -> dict:
        """All fields of all groups by name."""
        return {name: value for group in GROUPS for name, value in asdict(getattr(self, group)).items()}

    def check_inputs(self) -> None:
        """What a preset leaves open.

        Raises:
            ValueError: Something that must be given is not, or two options do not go together.
        """
        data, run, mix = self.data, self.run, self.data.mask_mix
        if not data.dataset:
            raise ValueError("--dataset must name the data: a folder, files, or a data set on the Hub.")
        if not run.output_dir:
            raise ValueError("--output-dir must be given: where the run is kept.")
        if data.validation_split and data.holdout:
            raise ValueError("Validate on --validation-split or on --holdout images, not on both.")
        if "mask_image" in get_task(self.network.task).requires and mix[0] and not data.masks:
            raise ValueError(
                f"--mask-mix takes {mix[0]:.0%} of the masks from --masks, which is not given. Name a parquet file or "
                "folder of masks, or draw all: --mask-mix 0 0.5 0.5."
            )
        if self.optimization.lr_scheduler == "clock" and not self.optimization.max_minutes:
            raise ValueError("--lr-scheduler clock needs --max-minutes: the time over which the rate falls to 0.")
        if self.network.decoder and self.optimization.train_batch_size % 2:
            raise ValueError(
                "--train-batch-size must be even with --decoder, got "
                f"{self.optimization.train_batch_size}: of two images, each is judged under the other's condition, too."
            )
        if self.network.decoder and (data.streaming or data.least_crop < 1 or data.color_jitter):
            raise ValueError(
                "--decoder learns latents that are computed once, so it takes neither --streaming nor --least-crop nor "
                "--color-jitter."
            )
        if data.streaming and data.preload:
            raise ValueError("A stream is read as it is needed: drop --preload, or --streaming.")
        if data.streaming and data.cache_embeddings:
            raise ValueError("A stream has no fixed rows whose embeddings could be cached: drop --cache-embeddings.")
        if data.cache_embeddings and (data.least_crop < 1 or data.color_jitter):
            raise ValueError(
                "Images that are cropped or colored anew each time have no embedding that could be cached: set "
                "--cache-embeddings false, or leave --least-crop and --color-jitter out."
            )
        if self.objective.caption_probability and not data.caption_column:
            raise ValueError("--caption-probability needs --caption-column: the sentences to restore towards.")
        if run.report_to and find_spec(run.report_to) is None:
            raise ValueError(f"--report-to {run.report_to} needs its package: pip install {run.report_to}.")
        if run.push_to_hub and not run.hub_model_id:
            raise ValueError("--push-to-hub needs --hub-model-id owner/name.")

    def save(self, path: Path) -> None:
        """Writes the config as JSON."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2))


GROUPS = {
    "data": DataConfig,
    "network": NetworkConfig,
    "objective": ObjectiveConfig,
    "optimization": OptimizationConfig,
    "run": RunConfig,
}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

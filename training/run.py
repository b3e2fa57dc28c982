"""What a run consists of: encoder, data, networks, objective, checkpoints and validation."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import set_seed
from datasets import Dataset, IterableDataset
from torch import Tensor

from textir_hf.evaluation.data import load_masks
from textir_hf.tasks import get_task
from training.checkpoint import Checkpoints, Progress
from training.config import TrainingConfig
from training.data import Batches, training_and_held_out
from training.embeddings import FrozenEncoder, cached_embeddings, recenter
from training.latent_objective import LatentObjective
from training.latents import EncodedRows, encoded_rows
from training.networks import Networks, build_networks
from training.objective import Objective
from training.samples import MaskSampler, SampleMaker
from training.validation import Validation


@dataclass
class Run:
    """What a run consists of.

    Args:
        rows: The training rows.
        embeddings: `[2, N, D]` of the rows' images and their mirror images, if they are cached.
        latents: Of the rows, where the generator learns latents.
    """

    config: TrainingConfig
    accelerator: Accelerator
    encoder: FrozenEncoder
    networks: Networks
    objective: Objective
    progress: Progress
    checkpoints: Checkpoints
    validation: Validation
    maker: SampleMaker
    rows: Dataset | IterableDataset
    embeddings: Tensor | None
    latents: EncodedRows | None
    started: float = field(default_factory=time.monotonic)

    def minutes(self) -> float:
        """How long the run has been going since it was set up."""
        return (time.monotonic() - self.started) / 60

    def batches(self) -> Batches:
        """Batches of this process from where the run stands."""
        known = (self.embeddings, self.latents)
        return Batches(self.config, self.accelerator, self.progress, self.rows, self.maker, *known)


def set_up(config: TrainingConfig) -> Run:
    """Loads and builds everything that a run needs.

    Raises:
        ValueError: Something of the config, the data or the launch does not fit.
    """
    config.check_inputs()
    Path(config.run.output_dir).mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=config.optimization.mixed_precision,
        log_with=config.run.report_to,
        project_dir=config.run.output_dir,
    )
    _check_distribution(accelerator)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.optimization.tf32
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    set_seed(config.run.seed)

    encoder = FrozenEncoder(config.network.clip, accelerator.device, accelerator.autocast)
    with accelerator.main_process_first():  # the first one fills the caches on the disk
        rows, held_out = training_and_held_out(config)
        embeddings = latents = None
        if config.network.decoder:
            latents = encoded_rows(rows, config, encoder)
        elif config.data.cache_embeddings:
            embeddings = cached_embeddings(encoder, accelerator.mixed_precision, rows, config)
    sentences = recenter(encoder, rows, config, embeddings)

    task, size = get_task(config.network.task), config.network.sample_size
    irregular = load_masks(config.data.masks, "train", size) if config.data.masks else None
    masks = MaskSampler(size, config.data.mask_mix, irregular)
    count = 0 if sentences is None else len(sentences)
    maker = SampleMaker(task, size, masks, config.data, config.run.seed, encoder.dim, config.objective, count)

    networks, progress = build_networks(config, accelerator, encoder.dim), Progress()
    sizes = networks.restorer.noise_sizes(size, size)
    kind = LatentObjective if config.network.decoder else Objective
    objective = kind(config, encoder, sentences, sizes, accelerator.autocast)
    checkpoints = Checkpoints(config, accelerator, networks, progress)
    validation = Validation(config, held_out, maker, encoder)
    return Run(
        *(config, accelerator, encoder, networks, objective, progress, checkpoints, validation, maker, rows),
        *(embeddings, latents),
    )


def _check_distribution(accelerator: Accelerator) -> None:
    kind = accelerator.distributed_type
    first = kind == DistributedType.FSDP and not accelerator.is_fsdp2
    if first or kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(
            f"Two networks train together, copied by DDP or in pieces by FSDP 2; accelerate is set to {kind.value}"
            f"{' 1' if first else ''}. Launch with training/accelerate/multi_gpu.yaml or fsdp.yaml."
        )

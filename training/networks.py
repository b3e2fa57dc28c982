"""The two networks of a run, their optimizers and the averaged weights, for any number of processes."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from textir_hf.models.generator import TextIRGenerator
from textir_hf.tasks import get_task
from training.config import TrainingConfig
from training.discriminator import build_discriminator


@dataclass
class Networks:
    """What a run trains.

    Args:
        generator: As the processes share it.
        discriminator: As the processes share it.
        optimizer: The generator's.
        discriminator_optimizer: The discriminator's.
        average: Moving average of the generator's weights, gathered from all processes.
        restorer: A generator of one piece that takes the averaged weights.
    """

    generator: nn.Module
    discriminator: nn.Module
    optimizer: AcceleratedOptimizer
    discriminator_optimizer: AcceleratedOptimizer
    average: EMAModel
    restorer: TextIRGenerator

    def averaged(self) -> TextIRGenerator:
        """The generator with the averaged weights, on this process's device."""
        with torch.no_grad():
            for parameter, value in zip(self.restorer.parameters(), self.average.shadow_params, strict=True):
                parameter.copy_(value.view_as(parameter))
        return self.restorer


def build_networks(config: TrainingConfig, accelerator: Accelerator, embedding_dim: int) -> Networks:
    """Builds both networks as the config says.

    Raises:
        ValueError: The network to start from has other widths.
    """
    network, optimization, ratio = config.network, config.optimization, lazy_ratio(config)
    arguments = generator_config(config, embedding_dim)
    generator = TextIRGenerator(**arguments)
    if network.init_from:
        adopt(TextIRGenerator.from_pretrained(network.init_from), generator)
    if network.gradient_checkpointing:
        generator.enable_gradient_checkpointing()
    if config.objective.noise == "none":
        for name, parameter in generator.named_parameters():
            parameter.requires_grad_(not name.endswith("noise_strength"))
    restorer = TextIRGenerator(**arguments).to(accelerator.device).eval().requires_grad_(False)
    betas = {"generator": (optimization.beta1, 0.99), "discriminator": (0.0, 0.99**ratio)}
    generator, optimizer = _prepare(generator, config, accelerator, betas["generator"])
    judge = build_discriminator(network, embedding_dim)
    if network.init_discriminator:
        judge.load_state_dict(load_file(network.init_discriminator))
    discriminator, other = _prepare(judge, config, accelerator, betas["discriminator"])
    at_once = accelerator.device.type != "cpu"  # where a launch costs more than a buffer
    average = EMAModel(full_parameters(generator), decay=average_decay(config, accelerator), foreach=at_once)
    return Networks(generator, discriminator, optimizer, other, average, restorer)


def generator_config(config: TrainingConfig, embedding_dim: int) -> dict:
    """Arguments of the run's `TextIRGenerator`."""
    network = config.network
    return get_task(network.task).network_config() | {
        "sample_size": network.sample_size,
        "channels": tuple(network.channels),
        "embedding_dim": embedding_dim,
        "style_dim": network.style_dim,
        "face_template": network.face_points(),
        "patch_size": network.patch_size,
        "blocks": network.blocks,
        "decoder": network.decoder,
    }


def _prepare(
    network: nn.Module, config: TrainingConfig, accelerator: Accelerator, betas: tuple[float, float]
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """A network and its optimizer, shared by the processes: copied (DDP), or in pieces (FSDP 2)."""
    if accelerator.is_fsdp2:  # takes no scalars and no channels_last; casting is autocast's
        accelerator.state.fsdp_plugin.mixed_precision_policy = None
        for parameter in network.parameters():
            parameter.data = torch.atleast_1d(parameter.data)
    else:
        network = network.to(memory_format=torch.channels_last)
    if config.optimization.compile:
        network.compile()
    optimizer = torch.optim.Adam(network.parameters(), config.optimization.learning_rate, betas, fused=True)
    return accelerator.prepare(network, optimizer)


def adopt(network: TextIRGenerator, other: TextIRGenerator) -> None:
    """Copies a network into one of the same widths; for another task, all but what sees its input and its strength.

    Args:
        network: The trained network.
        other: The network to start, changed in place.

    Raises:
        ValueError: The widths do not fit.
    """
    has, needs = ((tuple(n.config.channels), n.config.style_dim, n.config.embedding_dim) for n in (network, other))
    if has != needs:
        raise ValueError(
            f"--init-from has channels, style_dim and embedding_dim {has}, the run {needs}: they must be the same."
        )
    state = other.state_dict()
    for name, value in network.state_dict().items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)


def full_parameters(network: nn.Module) -> list[Tensor]:
    """The parameters in the network's order, each gathered from all processes."""
    return [p.full_tensor() if isinstance(p, DTensor) else p for p in network.parameters()]


def lazy_ratio(config: TrainingConfig) -> float:
    """What scales the discriminator's learning rate, and is its betas' exponent, under lazy R1 (StyleGAN2, App. B)."""
    every = config.objective.r1_every
    return every / (every + 1)


def average_decay(config: TrainingConfig, accelerator: Accelerator) -> float:
    """How much of the averaged weights stays in an update."""
    return 0.5 ** (images_per_update(config, accelerator) / config.optimization.ema_half_life)


def images_per_update(config: TrainingConfig, accelerator: Accelerator) -> int:
    """Images in one update, of all processes."""
    optimization = config.optimization
    return optimization.train_batch_size * optimization.gradient_accumulation_steps * accelerator.num_processes

"""TextIR's objective: Eq. 6 to 8 of Sec. 3.3, R1, and the conditions that a batch is restored under."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.embedding import ENCODER, embed_images, load_encoder
from textir_hf.tasks import get_task
from training.config import TrainingConfig
from training.embeddings import FrozenEncoder
from training.perceptual import EncoderFeatureLoss, VGGPerceptualLoss, vgg_file

TERMS = ("l1", "clip", "features", "perceptual", "adversarial", "discriminator", "r1")


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Eq. 6: `E[log(1 + exp(-D(target)))] + E[log(1 + exp(D(restored)))]`; logits `[N, 1]`."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Eq. 6, non-saturating: `E[log(1 + exp(-D(restored)))]`; logits `[N, 1]`."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """`E[|grad D(target)|^2]` (Mescheder et al., 2018, Eq. 9 without gamma / 2).

    Args:
        logits: `[N, 1]`, computed from `images`.
        images: `[N, C, H, W]` with `requires_grad`.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def clip_loss(clip: nn.Module, image_processor, restored: Tensor, target_embedding: Tensor) -> Tensor:
    """Eq. 7: one minus the cosine between the embeddings of the restored image and of the target.

    Args:
        clip: The frozen encoder.
        image_processor: Its processor.
        restored: `[N, 3, H, W]` in [0, 1].
        target_embedding: `[N, D]` at unit length.
    """
    return 1 - (embed_images(clip, image_processor, restored) * target_embedding).sum(1).mean()


class Objective:
    """The losses of both networks for a batch; `total` weighs them as in Eq. 8.

    No method waits for the device.

    Args:
        config: The run's.
        encoder: Embeds the targets.
        sentences: `[T, D]` on the device, for swapped conditions; or None.
        noise_sizes: `TextIRGenerator.noise_sizes` of the samples.
        autocast: Makes the context of the losses that are networks.
    """

    def __init__(
        self,
        config: TrainingConfig,
        encoder: FrozenEncoder,
        sentences: Tensor | None,
        noise_sizes: list[tuple[int, int]],
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        objective = self.config = config.objective
        self.task, self.encoder, self.autocast = get_task(config.network.task), encoder, autocast
        self.sentences, self.noise_sizes, self.compiled = sentences, noise_sizes, config.optimization.compile
        self.matched_losses = {}
        if objective.lambda_features:
            clip = encoder.clip if encoder.name == ENCODER else load_encoder(ENCODER)[0]
            backbone = clip.image_tower.backbone.requires_grad_(False)
            self.matched_losses["features"] = EncoderFeatureLoss(backbone).to(encoder.device)
        if objective.lambda_perceptual:
            self.matched_losses["perceptual"] = VGGPerceptualLoss(vgg_file(objective.vgg)).to(encoder.device)
        self.weights = {
            "l1": objective.lambda_l1,
            "clip": objective.lambda_clip,
            "features": objective.lambda_features,
            "perceptual": objective.lambda_perceptual,
            "adversarial": objective.lambda_adversarial,
            "discriminator": objective.lambda_adversarial,
            "r1": objective.lambda_adversarial * objective.r1_weight / 2 * objective.r1_every,
        }

    def adversarial(self, step: int) -> bool:
        """Whether the discriminator takes part in a step."""
        return self.config.lambda_adversarial > 0 and step >= self.config.adversarial_start

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        return sum(self.weights[name] * value for name, value in terms.items())

    def generator_terms(
        self, generator: nn.Module, discriminator: nn.Module, batch: dict, step: int
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The generator's terms of Eq. 8, the target and the restored images.

        Args:
            generator: The network that learns.
            discriminator: The other one, whose weights stay.
            batch: Of `Batches`.
            step: Updates done.
        """
        target = (batch["target"].float() / 255).to(memory_format=torch.channels_last)
        embedding = self._embedding(batch, target)
        noise = batch["condition_noise"] * (self.config.embedding_noise / embedding.shape[1] ** 0.5)
        condition = F.normalize(embedding + noise, dim=1)
        degraded = batch["degraded"].to(memory_format=torch.channels_last)
        fine = self._fine_noise(batch["seed"], target.device)
        sample = generator(degraded, condition, batch.get("strength"), **fine).sample.float()
        restored = self.task.restored(sample, target, batch)
        terms = {"l1": self._reconstruction(sample, restored, target, batch)}
        with self.autocast():
            if self.config.lambda_clip and step >= self.config.clip_start:
                terms["clip"] = clip_loss(self.encoder.clip, self.encoder.image_processor, restored, embedding)
            for name, loss in self.matched_losses.items():
                terms[name] = self._matched(loss, restored, target, batch.get("matched"))
        if self.adversarial(step):
            terms["adversarial"] = generator_loss(discriminator(restored).float())
        return terms, target, restored

    def discriminator_terms(
        self, discriminator: nn.Module, target: Tensor, restored: Tensor, step: int
    ) -> dict[str, Tensor]:
        """The discriminator's term of Eq. 8 and, every `r1_every` steps, R1.

        Args:
            discriminator: The network that learns.
            target: `[N, 3, S, S]` in [0, 1].
            restored: The same, without gradients.
            step: Updates done.
        """
        real, fake = discriminator(torch.cat([target, restored])).float().chunk(2)
        terms = {"discriminator": discriminator_loss(real, fake)}
        if step % self.config.r1_every == 0:
            images = target.detach().requires_grad_()
            with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():  # no second derivative
                terms["r1"] = r1_penalty(discriminator(images, full_precision=True), images)
        return terms

    def _embedding(self, batch: dict, target: Tensor) -> Tensor:
        """The conditions `[N, D]`: the targets' own, or where they are swapped the next one's or a sentence's."""
        own = batch["embedding"] if "embedding" in batch else self.encoder.images(target)
        if "swapped" not in batch:
            return own
        other = own.roll(-1, 0)
        if self.sentences is not None:
            number = batch["sentence"]
            other = torch.where(number[:, None] >= 0, self.sentences[number.clamp(min=0)].to(other), other)
        return torch.where(batch["swapped"][:, None], other, own)

    def _fine_noise(self, seeds: list[int], device: torch.device) -> dict:
        """The generator's arguments for its noise."""
        if self.config.noise == "none":
            return {}
        if self.config.noise == "sample":
            return {"generator": [torch.Generator(device).manual_seed(seed) for seed in seeds]}
        source = torch.Generator(device).manual_seed(seeds[0])
        shapes = [(len(seeds), 1, *size) for size in self.noise_sizes]
        return {"noise": [torch.randn(shape, generator=source, device=device) for shape in shapes]}

    def _reconstruction(self, sample: Tensor, restored: Tensor, target: Tensor, batch: dict) -> Tensor:
        error = self.task.reconstruction_error(sample, restored, target, batch)
        if "swapped" in batch and len(batch["matched"]) < len(error):
            preserved = self.task.preserved_error(sample, restored, target, batch)
            error = torch.where(batch["swapped"], preserved, error)
        return error.mean()

    @staticmethod
    def _matched(loss: nn.Module, restored: Tensor, target: Tensor, matched: Tensor | None) -> Tensor:
        """The mean over the batch of a loss that counts only where the condition is the target's."""
        if matched is None or len(matched) == len(restored):
            return loss(restored, target)
        if not len(matched):
            return restored.sum() * 0
        return loss(restored[matched], target[matched]) * (len(matched) / len(restored))

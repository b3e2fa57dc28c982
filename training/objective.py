"""TextIR's objective: Eq. 7 and 8 of Sec. 3.3, and the conditions that a batch is restored under."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.embedding import ENCODER, embed_images, load_encoder
from textir_hf.tasks import get_task
from training.adversarial import discriminator_loss, generator_loss, r1_penalty
from training.config import TrainingConfig
from training.embeddings import FrozenEncoder
from training.perceptual import FrozenFeatures, VGGPerceptualLoss, feature_loss, vgg_file

TERMS = ("l1", "clip", "features", "perceptual", "adversarial", "matching", "discriminator", "r1")


def clip_loss(clip: nn.Module, image_processor, restored: Tensor, target_embedding: Tensor) -> Tensor:
    """Eq. 7: one minus the cosine between the embeddings of the restored image and of the target.

    Args:
        clip: The frozen encoder.
        image_processor: Its processor.
        restored: `[N, 3, H, W]` in [0, 1].
        target_embedding: `[N, D]` at unit length.
    """
    return 1 - (embed_images(clip, image_processor, restored) * target_embedding).sum(1).mean()


@dataclass
class Comparison:
    """What a discriminator has to tell apart, without gradients.

    Args:
        target: `[N, 3, S, S]` in [0, 1].
        restored: The same.
        target_features: `FrozenFeatures` in deviations of the targets'; empty if the discriminator uses none.
        restored_features: The same of the restored images.
        own: `[N, D]`, the targets' embeddings.
        given: `[N, D]`, the embeddings that the images were restored towards.
        mask: `[N, 1, S, S]`, 1 = repainted.
    """

    target: Tensor
    restored: Tensor
    target_features: list[Tensor]
    restored_features: list[Tensor]
    own: Tensor
    given: Tensor
    mask: Tensor


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
        self.projected = config.network.discriminator == "projected"
        self.empty = encoder.texts([""]) if objective.condition_dropout else None
        self.features = self.perceptual = None
        if objective.lambda_features or self.projected:
            clip = encoder.clip if encoder.name == ENCODER else load_encoder(ENCODER)[0]
            self.features = FrozenFeatures(clip.image_tower.backbone).to(encoder.device)
        if objective.lambda_perceptual:
            self.perceptual = VGGPerceptualLoss(vgg_file(objective.vgg)).to(encoder.device)
        self.weights = {
            "l1": objective.lambda_l1,
            "clip": objective.lambda_clip * objective.clip_every,
            "features": objective.lambda_features,
            "matching": objective.lambda_matching,
            "perceptual": objective.lambda_perceptual,
            "adversarial": objective.lambda_adversarial,
            "discriminator": objective.lambda_adversarial,
            "r1": objective.lambda_adversarial * objective.r1_weight / 2 * objective.r1_every,
        }

    def adversarial(self, step: int) -> bool:
        """Whether the discriminator takes part in a step."""
        return self.config.lambda_adversarial > 0 and step >= self.config.adversarial_start

    def _clip(self, step: int) -> bool:
        """Whether a step takes the CLIP loss."""
        return self.config.lambda_clip > 0 and step >= self.config.clip_start and step % self.config.clip_every == 0

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        return sum(self.weights[name] * value for name, value in terms.items())

    def generator_terms(
        self, generator: nn.Module, discriminator: nn.Module, batch: dict, step: int
    ) -> tuple[dict[str, Tensor], Comparison]:
        """The generator's terms of Eq. 8, and what the discriminator learns from.

        Args:
            generator: The network that learns.
            discriminator: The other one, whose weights stay.
            batch: Of `Batches`.
            step: Updates done.
        """
        target = (batch["target"].float() / 255).to(memory_format=torch.channels_last)
        own = batch["embedding"] if "embedding" in batch else self.encoder.images(target)
        embedding = self._swapped(batch, own)
        degraded = batch["degraded"].to(memory_format=torch.channels_last)
        fine = self._fine_noise(batch["seed"], target.device)
        condition = self._condition(batch, embedding)
        sample = generator(degraded, condition, batch.get("strength"), **fine).sample.float()
        restored = self.task.restored(sample, target, batch)
        terms = {"l1": self._reconstruction(sample, restored, target, batch)}
        with self.autocast():
            if self._clip(step):
                terms["clip"] = clip_loss(self.encoder.clip, self.encoder.image_processor, restored, embedding)
            ours, theirs = self._features(restored, target)
            if self.config.lambda_features:
                terms["features"] = self._matched(feature_loss, ours, theirs, batch)
            if self.perceptual is not None:
                terms["perceptual"] = self._matched(self.perceptual, restored, target, batch)
        mask = batch["mask"] if "mask" in batch else torch.ones_like(target[:, :1])
        if self.adversarial(step):
            logits = discriminator(restored, ours, embedding, mask)
            terms["adversarial"] = generator_loss([x.float() for x in logits], mask)
        ours, theirs = ([x.detach() for x in ours], theirs) if self.projected else ([], [])
        return terms, Comparison(target, restored.detach(), theirs, ours, own, embedding, mask)

    def discriminator_terms(self, discriminator: nn.Module, pair: Comparison, step: int) -> dict[str, Tensor]:
        """The discriminator's term of Eq. 8 and, every `r1_every` steps, R1.

        For a discriminator that looks at the condition, a target with another one's condition is a fake, too (Reed et
        al., "Generative Adversarial Text to Image Synthesis", 2016).

        Args:
            discriminator: The network that learns.
            pair: Of `generator_terms`.
            step: Updates done.
        """
        places = [(pair.target, pair.target_features, pair.own), (pair.restored, pair.restored_features, pair.given)]
        if self.projected:
            places.append((pair.target, pair.target_features, pair.own.roll(1, 0)))
        images, features, conditions = zip(*places, strict=True)
        features = [torch.cat(stage) for stage in zip(*features, strict=True)]
        mask = pair.mask.repeat(len(places), 1, 1, 1)
        logits = discriminator(torch.cat(images), features, torch.cat(conditions), mask)
        real, *fakes = zip(*(x.float().chunk(len(places)) for x in logits), strict=True)
        terms = {"discriminator": discriminator_loss(real, fakes, pair.mask)}
        if step % self.config.r1_every == 0:
            image, *features = inputs = [x.detach().requires_grad_() for x in (pair.target, *pair.target_features)]
            with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():  # no second derivative
                logits = discriminator(image, features, pair.own, pair.mask, full_precision=True)
                terms["r1"] = r1_penalty(logits, inputs)
        return terms

    def _features(self, restored: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Frozen features of both in deviations of the target's, if a loss or the discriminator uses them."""
        if self.features is None:
            return [], []
        with torch.no_grad():
            theirs = self.features(target)
        scales = [1 / x.std() for x in theirs]
        pairs = zip(self.features(restored), theirs, scales, strict=True)
        ours, theirs = zip(*((a * scale, b * scale) for a, b, scale in pairs), strict=True)
        return list(ours), list(theirs)

    def _swapped(self, batch: dict, own: Tensor) -> Tensor:
        """The embeddings to restore towards: the targets' own, or where swapped the next one's or a sentence's."""
        if "swapped" not in batch:
            return own
        other = own.roll(-1, 0)
        if self.sentences is not None:
            number = batch["sentence"]
            other = torch.where(number[:, None] >= 0, self.sentences[number.clamp(min=0)].to(other), other)
        return torch.where(batch["swapped"][:, None], other, own)

    def _condition(self, batch: dict, embedding: Tensor) -> Tensor:
        """What the generator is told of an embedding: it, or where there is a caption that, with noise; or where
        dropped the empty sentence's.
        """
        places = [i for i, caption in enumerate(batch.get("caption", ())) if caption]
        if places:
            texts = self.encoder.texts([batch["caption"][i] for i in places]).to(embedding)
            at = torch.tensor(places).to(embedding.device, non_blocking=True)
            embedding = embedding.index_copy(0, at, texts)
        noise = batch["condition_noise"] * (self.config.embedding_noise / embedding.shape[1] ** 0.5)
        condition = F.normalize(embedding + noise, dim=1)
        return torch.where(batch["dropped"][:, None], self.empty, condition) if "dropped" in batch else condition

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
    def _matched(loss: Callable, restored: Tensor | list, target: Tensor | list, batch: dict) -> Tensor:
        """The mean over the batch of a loss that counts only where the condition is the target's."""
        matched, count = batch.get("matched"), len(batch["target"])
        if matched is None or len(matched) == count:
            return loss(restored, target)
        if not len(matched):
            return sum(x.sum() * 0 for x in restored)
        ours, theirs = (x[matched] if isinstance(x, Tensor) else [y[matched] for y in x] for x in (restored, target))
        return loss(ours, theirs) * (len(matched) / count)

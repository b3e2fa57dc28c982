"""TextIR's objective: Eq. 6 to 8 of Sec. 3.3 and R1, on images, or on latents if the generator has a frozen decoder."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.autoencoder import CELL
from textir_hf.models.embedding import embed_images
from textir_hf.models.generator import TextIRGenerator
from textir_hf.tasks import get_task
from training import networks
from training.config import R1_EVERY, TrainingConfig
from training.latents import FrozenEncoder

R1_EVERY_LATENT = 4  # as R1_EVERY, for latents: without a norm in its layers, the discriminator needs it more often
MARGIN = 2  # latent cells around a masked region that the region still changes
SHRUNK = 4  # how many times smaller the CLIP loss sees what latents decode to: in full size, it asks for a crosshatch


def discriminator_loss(real: list[Tensor], fake: list[Tensor], counted: Tensor) -> Tensor:
    """Eq. 6: `E[log(1 + exp(-D(target)))] + E[log(1 + exp(D(restored)))]`, the mean over the maps `[N, 1, h, w]`.

    Only places count that hold pixels of `counted`, `[N, 1, S, S]`, 1 = repainted.
    """
    return generator_loss(real, counted) + generator_loss([-x for x in fake], counted)


def generator_loss(fake: list[Tensor], counted: Tensor) -> Tensor:
    """Eq. 6, non-saturating: `E[log(1 + exp(-D(restored)))]`; see `discriminator_loss`."""
    return _mean_over_places([F.softplus(-x) for x in fake], counted)


def relativistic_loss(higher: list[Tensor], lower: list[Tensor], counted: Tensor) -> Tensor:
    """`E[log(1 + exp(D(lower) - D(higher)))]` for maps of the same image (Huang et al., "R3GAN", 2024, Eq. 2).

    The discriminator wants the target higher than the restored image, the generator the opposite.
    """
    return _mean_over_places([F.softplus(x - y) for x, y in zip(lower, higher, strict=True)], counted)


def _mean_over_places(losses: list[Tensor], counted: Tensor) -> Tensor:
    means = []
    for x in losses:  # the mean of each image, so that it does not matter which images share a batch
        weights = F.adaptive_max_pool2d(counted, x.shape[-2:])
        means.append(((x * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1)).mean())
    return torch.stack(means).mean()


def gradient_penalty(maps: list[Tensor], images: Tensor) -> Tensor:
    """`E[|grad D|^2]` (Mescheder et al., 2018, Eq. 9 without gamma / 2) of maps of logits, computed from `images`.

    The mean of each map counts, so that the weight does not depend on its size. On targets it is R1, on restored R2.
    """
    logits = sum(x.float().mean((1, 2, 3)) for x in maps)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def clip_loss(clip: nn.Module, image_processor, restored: Tensor, target_embedding: Tensor) -> Tensor:
    """Eq. 7: one minus the cosine between the embeddings of `restored` `[N, 3, H, W]` and of the target `[N, D]`."""
    return 1 - (embed_images(clip, image_processor, restored) * target_embedding).sum(1).mean()


def _matched(values: Tensor, batch: dict) -> Tensor:
    """Values `[N, C, H, W]`, 0 for the images that were restored under another one's condition."""
    return values * ~batch["swapped"][:, None, None, None] if "swapped" in batch else values


def masked_cells(mask: Tensor) -> Tensor:
    """The latent cells that a mask `[N, 1, H, W]` touches, and `MARGIN` cells around them, `[N, 1, H / 8, W / 8]`."""
    return F.max_pool2d(F.max_pool2d(mask, CELL), 2 * MARGIN + 1, stride=1, padding=MARGIN)


def exchange(values: Tensor) -> Tensor:
    """Values of a batch, exchanged in pairs, so that it does not matter how processes share the batch."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


class Comparison(NamedTuple):
    """The inputs of a discriminator's step, without gradients."""

    target: Tensor  # images `[N, 3, S, S]` in [0, 1], or latents `[N, 32, S / 8, S / 8]`
    restored: Tensor  # the same
    degraded: Tensor  # `[N, C, S, S]`, as the generator sees it
    mask: Tensor  # of the target's size, 1 = restored and judged
    own: Tensor  # `[N, D]`, the targets' embeddings
    asked: Tensor  # `[N, D]`, those of the images that were asked for: the targets, or others where swapped


class Objective:
    """The losses of both networks for a batch; `total` weighs them as in Eq. 8. No method waits for the device.

    A network like `restorer` decides what is compared: latents if it has a decoder, otherwise images.
    """

    def __init__(self, config: TrainingConfig, encoder: FrozenEncoder, restorer: TextIRGenerator) -> None:
        self.config, self.task, self.encoder, self.autocast = config, get_task(config.task), encoder, encoder.autocast
        self.draw_noise, self.decode = restorer.draw_noise, restorer.latent_decoder
        self.latent = self.decode is not None
        self.penalty_every = R1_EVERY_LATENT if self.latent else R1_EVERY
        self.empty = encoder.texts([""]) if config.condition_dropout else None
        self.perceptual = None
        if config.lambda_perceptual and not self.latent:
            self.perceptual = networks.VGGPerceptualLoss(networks.download_vgg()).to(encoder.device)
        adversarial = config.lambda_adversarial
        self.weights = {"l1": 1.0, "clip": config.lambda_clip, "perceptual": config.lambda_perceptual}
        self.weights |= {"adversarial": adversarial, "matching": config.lambda_matching, "discriminator": adversarial}
        self.weights["r1"] = adversarial * config.r1_weight / 2 * self.penalty_every

    def adversarial(self, step: int) -> bool:
        """Whether the discriminator takes part in a step."""
        return self.config.lambda_adversarial > 0 and step >= self.config.adversarial_start

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        return sum([self.weights[name] * value for name, value in terms.items()])

    def generator_terms(
        self, generator: nn.Module, discriminator: nn.Module, batch: dict, step: int
    ) -> tuple[dict[str, Tensor], Comparison]:
        """The generator's terms of Eq. 8 for a batch of `Batches`, and the inputs of the discriminator's step."""
        config, every = self.config, slice(None, None, self.config.clip_every)
        images = (batch["target"].float() / 255).to(memory_format=torch.channels_last)
        degraded = batch["degraded"].to(memory_format=torch.channels_last)
        own = batch["embedding"] if self.latent else self.encoder.images(images)
        given, asked, wanted = self._conditions(batch, own)
        noise = self.draw_noise(degraded, [torch.Generator(images.device).manual_seed(s) for s in batch["seed"]])
        options = {"noise": noise, "output_type": "latent" if self.latent else "image"}
        sample = generator(degraded, given, batch.get("skip_strength"), **options).sample.float()
        if self.latent:
            terms, target, mask = self._compare_latents(sample, batch)
        else:
            target, restored = images, self.task.restored(sample, images, batch)
            terms = {"l1": self.task.reconstruction_error(sample, restored, images, batch).mean()}
            mask = batch.get("mask", torch.ones_like(images[:, :1]))
        if config.lambda_clip:
            if self.latent:  # some of the results as users get them
                with self.autocast():
                    decoded = self.decode(sample[every]).float()
                some = {name: values[every] for name, values in batch.items()}
                shown = F.avg_pool2d(self.task.restored(decoded, images[every], some), SHRUNK)
            else:
                shown = restored[every]
            with self.autocast():
                terms["clip"] = clip_loss(self.encoder.clip, self.encoder.image_processor, shown, wanted[every])
        if self.latent:  # here, so that the gradients of `sample` are summed in one order
            restored = mask * sample + (1 - mask) * target
        if self.perceptual is not None:
            with self.autocast():
                terms["perceptual"] = self.perceptual(restored, images)
        pair = Comparison(target, restored.detach(), degraded * self.task.input_scale, mask, own, asked)
        if self.adversarial(step):
            terms |= self._adversarial_terms(discriminator, restored, pair, batch)
        return terms, pair

    def _conditions(self, batch: dict, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the images' embeddings `own`: the generator's conditions, the images and the embeddings asked for.

        A condition is the image's embedding or where there is one its caption's, with noise, or the empty prompt's.
        """
        given = asked = wanted = own
        if places := [i for i, caption in enumerate(batch.get("caption", ())) if caption]:
            texts = self.encoder.texts([batch["caption"][i] for i in places]).to(own)
            given = own.index_copy(0, torch.tensor(places).to(own.device, non_blocking=True), texts)
        if "swapped" in batch:
            where = batch["swapped"][:, None]
            given, asked = (torch.where(where, exchange(x), x) for x in (given, own))
            wanted = torch.where(where, given, own)
        noise = batch["condition_noise"] * (self.config.embedding_noise / own.shape[1] ** 0.5)
        given = F.normalize(given + noise, dim=1)
        return torch.where(batch["dropped"][:, None], self.empty, given) if "dropped" in batch else given, asked, wanted

    def _compare_latents(self, sample: Tensor, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """L1 and the perceptual loss, the target, and the mask of what is judged: cells that the mask reaches.

        The others count half in L1, since their pixels are known; they alone count where another image was asked for.
        The discriminator sees the target there.
        """
        target, valid = batch["latent"].float(), batch["valid"]
        mask = masked_cells(batch["mask"]) if "mask" in batch else torch.ones_like(valid)
        error = valid * (sample - target).abs()
        terms = {"l1": ((1 - mask) / 2 * error + _matched(mask * error, batch)).mean()}
        if self.config.lambda_perceptual:
            with self.autocast():
                error = (self.decode.features(sample) - self.decode.features(target)).abs()
            terms["perceptual"] = _matched(valid * error, batch).mean()
        return terms, target, mask * valid

    def _adversarial_terms(self, discriminator: nn.Module, restored: Tensor, pair: Comparison, batch: dict) -> dict:
        with self.autocast():
            logits, features = zip(*discriminator(restored, pair.degraded, pair.asked, pair.mask), strict=True)
        logits = [x.float() for x in logits]
        if not self.latent:
            return {"adversarial": generator_loss(logits, pair.mask)}
        with torch.no_grad(), self.autocast():
            real, theirs = zip(*discriminator(pair.target, pair.degraded, pair.own, pair.mask), strict=True)
        errors = [_matched((a.float() - b.float()).abs(), batch).mean() for a, b in zip(features, theirs, strict=True)]
        adversarial = relativistic_loss(logits, [x.float() for x in real], pair.mask)
        return {"adversarial": adversarial, "matching": sum(errors) / len(errors)}

    def discriminator_terms(self, discriminator: nn.Module, pair: Comparison, step: int) -> dict[str, Tensor]:
        """The discriminator's term of Eq. 8 and, every `penalty_every` steps, R1, for latents R1 and R2.

        For latents, a target under another image's condition is a fake, too (Reed et al., "Generative Adversarial Text
        to Image Synthesis", 2016).
        """
        judged, conditions = [pair.target, pair.restored], [pair.own, pair.asked]
        if self.latent:
            judged.append(pair.target)
            conditions.append(exchange(pair.own))
        count = len(judged)
        degraded, mask = pair.degraded.repeat(count, 1, 1, 1), pair.mask.repeat(count, 1, 1, 1)
        with self.autocast():
            found = discriminator(torch.cat(judged), degraded, torch.cat(conditions), mask)
        real, *fakes = zip(*[logits.float().chunk(count) for logits, _ in found], strict=True)
        loss = relativistic_loss if self.latent else discriminator_loss
        terms = {"discriminator": sum([loss(real, fake, pair.mask) for fake in fakes]) / len(fakes)}
        if step % self.penalty_every == 0:
            terms["r1"] = 0
            for images, condition in zip(judged[: 1 + self.latent], conditions, strict=False):
                images = images.detach().requires_grad_()
                found = discriminator(images, pair.degraded, condition, pair.mask, full_precision=True)
                terms["r1"] += gradient_penalty([logits for logits, _ in found], images)
        return terms

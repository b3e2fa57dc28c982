"""TextIR's objective where a generator predicts latents: Eq. 6 and 8 in the space of the frozen decoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.autoencoder import CELL
from training.adversarial import hinge_discriminator_loss, hinge_generator_loss
from training.objective import Objective

MARGIN = 2  # cells around a masked region whose latents the region changes


@dataclass
class LatentComparison:
    """What a discriminator has to tell apart, without gradients.

    Args:
        target: `[N, 32, h, w]`.
        restored: The same.
        degraded: `[N, C, 8h, 8w]`.
        own: `[N, D]`, the targets' embeddings.
        mask: `[N, 1, h, w]`, 1 = predicted and judged.
    """

    target: Tensor
    restored: Tensor
    degraded: Tensor
    own: Tensor
    mask: Tensor


def masked_cells(mask: Tensor) -> Tensor:
    """The latent cells that a mask `[N, 1, H, W]` touches, and `MARGIN` cells around them, `[N, 1, H / 8, W / 8]`."""
    touched = F.max_pool2d(mask, CELL)
    return F.max_pool2d(touched, 2 * MARGIN + 1, stride=1, padding=MARGIN)


class LatentObjective(Objective):
    """The losses of both networks for a batch of latents. L1 is as for pixels; Eq. 6 has the hinge's form.

    The discriminator sees the target's cells where nothing is judged: beyond the photo's border and, for inpainting,
    where the mask does not reach. The L1 error of cells that the mask does not reach counts half, since the pixels
    there are known.
    """

    def generator_terms(
        self, generator: nn.Module, discriminator: nn.Module, batch: dict, step: int
    ) -> tuple[dict[str, Tensor], LatentComparison]:
        """As `Objective.generator_terms`."""
        target, own = batch["latent"].float(), batch["embedding"]
        degraded = batch["degraded"].to(memory_format=torch.channels_last)
        condition, fine = self._condition(batch, own), self._fine_noise(batch["seed"], target.device)
        sample = generator(degraded, condition, batch.get("strength"), output_type="latent", **fine).sample.float()
        mask = masked_cells(batch["mask"]) if "mask" in batch else torch.ones_like(target[:, :1])
        terms = {"l1": (batch["valid"] * (1 + mask) / 2 * (sample - target).abs()).mean()}
        mask, hint = mask * batch["valid"], degraded * self.task.input_scale
        restored = mask * sample + (1 - mask) * target
        if self.adversarial(step):
            with self.autocast():
                ours = discriminator(restored, hint, own, mask)
                with torch.no_grad():
                    theirs = discriminator(target, hint, own, mask)
            terms["adversarial"] = hinge_generator_loss([logits.float() for logits, _ in ours], mask)
            if self.config.lambda_matching:
                pairs = zip(ours, theirs, strict=True)
                terms["matching"] = sum((a.float() - b.float()).abs().mean() for (_, a), (_, b) in pairs) / len(ours)
        return terms, LatentComparison(target, restored.detach(), hint, own, mask)

    def discriminator_terms(self, discriminator: nn.Module, pair: LatentComparison, step: int) -> dict[str, Tensor]:
        """The discriminator's term of Eq. 8; a target with another image's condition is a fake, too."""
        latents = torch.cat([pair.target, pair.restored, pair.target])
        neighbors = pair.own.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # within pairs, whoever shares the batch
        conditions = torch.cat([pair.own, pair.own, neighbors])
        with self.autocast():
            found = discriminator(latents, pair.degraded.repeat(3, 1, 1, 1), conditions, pair.mask.repeat(3, 1, 1, 1))
        real, *fakes = zip(*(logits.float().chunk(3) for logits, _ in found), strict=True)
        return {"discriminator": hinge_discriminator_loss(real, fakes, pair.mask)}

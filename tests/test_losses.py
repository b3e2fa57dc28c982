import math

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from textir_hf.models.embedding import embed_images
from textir_hf.tasks import get_task
from training.networks import Discriminator, LatentDiscriminator, VGGPerceptualLoss
from training.objective import clip_loss, discriminator_loss, generator_loss, gradient_penalty, relativistic_loss
from training.train import Run


def test_adversarial_losses_have_eq_6s_values():
    zero, one, everywhere = [torch.zeros(4, 1, 1, 1)], [torch.ones(4, 1, 2, 2)], torch.ones(4, 1, 8, 8)
    assert discriminator_loss(zero, zero, everywhere).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(one, [-one[0]], everywhere).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))
    assert generator_loss(one, everywhere).item() == pytest.approx(math.log(1 + math.exp(-1)))
    expected = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert generator_loss([*zero, *one], everywhere).item() == pytest.approx(expected)


def test_only_places_that_were_repainted_count():
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 5, 6] = 1  # in the last of four places
    real, fake, everywhere = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2), torch.ones(2, 1, 8, 8)
    losses = [discriminator_loss([real], [fake], mask), generator_loss([fake], mask)]
    last = [x[..., 1:, 1:] for x in (real, fake)]
    expected = [discriminator_loss([last[0]], [last[1]], everywhere), generator_loss([last[1]], everywhere)]
    torch.testing.assert_close(losses, expected)
    assert discriminator_loss([real], [fake], torch.zeros_like(mask)) == 0  # nothing was repainted: no NaN


def test_the_relativistic_loss_compares_maps_of_the_same_image():
    higher, lower, everywhere = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.ones(2, 1, 8, 8)
    expected = torch.log(1 + torch.exp(lower - higher)).mean()
    torch.testing.assert_close(relativistic_loss([higher + 7], [lower + 7], everywhere), expected)


def test_the_gradient_penalty_of_a_linear_discriminator_is_its_squared_weight_norm():
    images, weight = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(48)
    logits = (images.flatten(1) @ weight)[:, None, None, None]
    torch.testing.assert_close(gradient_penalty([logits], images), weight.square().sum())
    wide = logits.expand(-1, 1, 5, 5)  # a larger map of the same values weighs the same
    torch.testing.assert_close(gradient_penalty([wide, logits], images), 4 * weight.square().sum())


@pytest.mark.parametrize("latent", [False, True])
def test_gradient_penalties_reach_all_weights_in_full_precision(latent):
    network = LatentDiscriminator(3, 16, (4, 6)) if latent else Discriminator(32, (4, 8))
    images = torch.randn(2, 32, 4, 4) if latent else torch.rand(2, 3, 32, 32)
    seen = torch.rand(2, 3, 32, 32), torch.randn(2, 16), torch.ones(2, 1, 4, 4)
    images.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images, *seen, full_precision=True)
    assert all(logits.dtype == torch.float32 for logits, _ in found) and found[0][0].shape[:2] == (2, 1)
    gradient_penalty([logits for logits, _ in found], images).backward()
    assert all(n.endswith("bias") for n, p in network.named_parameters() if p.grad is None or not p.grad.any())


def test_clip_loss_is_one_minus_the_cosine_and_teaches_the_image_alone(encoder):
    clip, _, image_processor = encoder
    clip.requires_grad_(False)
    clip.zero_grad()
    images, other = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32)
    own = embed_images(clip, image_processor, images).detach()
    assert clip_loss(clip, image_processor, images, own).item() == pytest.approx(0, abs=1e-5)
    assert clip_loss(clip, image_processor, images, -own).item() == pytest.approx(2, abs=1e-5)
    clip_loss(clip, image_processor, images, embed_images(clip, image_processor, other)).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in clip.parameters())
    clip.requires_grad_(True)


def test_perceptual_loss_reads_conv4_3_before_its_relu(tmp_path):
    widths, state, channels = {0: 4, 2: 4, 5: 4, 7: 4, 10: 8, 12: 8, 14: 8, 17: 8, 19: 8, 21: 8}, {}, 3
    for index, width in widths.items():  # a VGG16 with four to eight channels, in torchvision's names
        state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3)
        state[f"features.{index}.bias"] = torch.randn(width)
        channels = width
    save_file(state, tmp_path / "vgg.safetensors")
    loss, images = VGGPerceptualLoss(tmp_path / "vgg.safetensors"), torch.rand(1, 3, 32, 32, requires_grad=True)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    x = (images - mean) / deviation
    for index in widths:
        if index:
            x = F.relu(x)
        if index in (5, 10, 17):
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
    torch.testing.assert_close(loss.features(images), x)
    loss(images, torch.rand(1, 3, 32, 32)).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())


def test_inpaintings_error_counts_the_networks_own_known_pixels_half():
    task, target = get_task("inpainting"), torch.rand(2, 3, 1, 1).expand(-1, -1, 64, 64)
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    sample = target.clone()
    sample[..., 24:40, 24:40] += 1.0
    restored = task.restored(sample, target, {"mask": mask})
    error = task.reconstruction_error(sample, restored, target, {"mask": mask})
    torch.testing.assert_close(error, torch.full((2,), 256 / 4096), rtol=1e-4, atol=0)
    sample[..., :8, :] += 1.0
    restored = task.restored(sample, target, {"mask": mask})
    more = task.reconstruction_error(sample, restored, target, {"mask": mask}) - error
    torch.testing.assert_close(more, torch.full((2,), 0.5 * 8 / 64))
    known = mask.expand_as(target) == 0
    assert torch.equal(restored[known], target[known])


def test_colorizations_error_is_a_smooth_l1_of_its_beta():
    task, target = get_task("colorization"), torch.full((2, 3, 64, 64), 0.5)
    batch = {"chroma": torch.zeros(2, 2, 64, 64), "degraded": torch.full((2, 1, 64, 64), 50.0)}
    sample = torch.zeros(2, 2, 64, 64)
    sample[..., 20:44, 20:44] += 20
    error = task.reconstruction_error(sample, task.restored(sample, target, batch), target, batch)
    expected = torch.full((2,), (0.2 - 0.015) * 576 / 4096)  # of 0.2 with beta 0.03
    torch.testing.assert_close(error, expected, rtol=1e-3, atol=0)


def test_a_caption_or_the_empty_prompt_replaces_the_embedding_as_the_condition_alone(config):
    options = {"condition_dropout": 0.5, "caption_probability": 0.5, "train_batch_size": 4, "embedding_noise": 0.0}
    run = Run(config(**options))
    batch = next(run.batches()) | {"dropped": torch.tensor([True, False, False, False])}
    batch["caption"] = ["a face", "a red flower", "", "a face"]
    own, texts = run.encoder.images(batch["target"].float() / 255), run.encoder.texts(["", "a red flower", "a face"])
    given, asked, wanted = run.objective._conditions(batch, own)
    torch.testing.assert_close(given, torch.stack([texts[0], texts[1], own[2], texts[2]]))
    assert asked is own and wanted is own  # the losses still compare with the image


def test_the_total_weighs_the_terms_as_eq_8_and_r1_for_the_steps_without_it(config):
    objective = Run(config(lambda_adversarial=0.5, lambda_clip=0.25, r1_weight=8.0)).objective
    assert objective.total(dict.fromkeys(("l1", "clip", "adversarial"), torch.tensor(1.0))) == 1.0 + 0.25 + 0.5
    assert objective.total(dict.fromkeys(("discriminator", "r1"), torch.tensor(1.0))) == 0.5 + 0.5 * 8 / 2 * 16

import math

import pytest
import torch
from conftest import SHARED
from safetensors.torch import save_file
from torch.nn import functional as F
from training.losses import (
    EncoderFeatureLoss,
    VGGPerceptualLoss,
    clip_loss,
    discriminator_loss,
    generator_loss,
    r1_penalty,
    rim,
)

from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images
from textir_hf.models.towers import EfficientNetLite0
from training.discriminator import Discriminator


def test_adversarial_losses_have_eq_6s_values():
    zero, one = torch.zeros(4, 1), torch.ones(4, 1)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(one, -one).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))
    assert generator_loss(one).item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_r1_penalty_of_a_linear_discriminator_is_its_squared_weight_norm():
    images, weight = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(48)
    logits = (images.flatten(1) @ weight)[:, None]
    torch.testing.assert_close(r1_penalty(logits, images), weight.square().sum())


def test_r1_penalty_reaches_the_discriminator():
    model, images = Discriminator(16, (4, 8)), torch.rand(2, 3, 16, 16, requires_grad=True)
    r1_penalty(model(images), images).backward()
    assert model.first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [8, 16, 64])
def test_discriminator_gives_one_logit_an_image(size):
    model = Discriminator(size, (4, 8))
    assert model(torch.rand(3, 3, size, size)).shape == (3, 1)
    assert len(model.blocks) == int(math.log2(size)) - 2


def test_the_rim_of_a_hole_is_where_it_meets_what_is_known():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 20:] = 1  # it reaches the picture's edge, which is no border
    weight = rim(mask)[0, 0]
    assert (weight[mask[0, 0] == 0] == 0).all() and (weight[14:26, 24:] == 0).all()
    assert weight[20, 20] > 0.8 and weight[20, 20] > weight[20, 22] > 0 and weight[10, 35] > 0.8


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


def test_feature_loss_is_zero_for_the_same_image_and_grows_with_noise():
    loss = EncoderFeatureLoss(EfficientNetLite0().requires_grad_(False))
    target = torch.rand(2, 3, 64, 64)
    noise = torch.randn_like(target)
    values = [loss((target + s * noise).clamp(0, 1), target).item() for s in (0, 0.05, 0.2)]
    assert values[0] == 0 and values[0] < values[1] < values[2]


@pytest.fixture
def small_vgg(tmp_path):
    """A VGG16 with four to eight channels, in torchvision's names."""
    widths = {0: 4, 2: 4, 5: 4, 7: 4, 10: 8, 12: 8, 14: 8, 17: 8, 19: 8, 21: 8}
    state, channels = {}, 3
    for index, width in widths.items():
        state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3)
        state[f"features.{index}.bias"] = torch.randn(width)
        channels = width
    save_file(state, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors", state


def test_perceptual_loss_reads_conv4_3_before_its_relu(small_vgg):
    path, state = small_vgg
    loss, images = VGGPerceptualLoss(path), torch.rand(1, 3, 32, 32, requires_grad=True)
    x = (images - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21):
        if index:
            x = F.relu(x)
        if index in (5, 10, 17):
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
    torch.testing.assert_close(loss.features(images), x)
    loss(images, torch.rand(1, 3, 32, 32)).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())


@pytest.mark.skipif(not SHARED.exists(), reason="needs the weights of LPIPS")
def test_lpips_is_zero_for_itself_and_known_for_flat_pictures():
    lpips = LPIPS(SHARED / "weights" / "lpips_alexnet.safetensors")
    images = torch.rand(2, 3, 64, 64)
    assert lpips(images, images).abs().max() < 1e-6
    blurred = F.avg_pool2d(images, 3, 1, 1)
    near, far = lpips(images, (images + 0.02).clamp(0, 1)), lpips(images, blurred)
    assert (near < far).all()

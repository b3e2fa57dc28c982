import math
import random

import pytest
import torch
from conftest import SHARED
from safetensors.torch import save_file
from torch.nn import functional as F

from textir_hf.imaging.masks import rim
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images
from textir_hf.models.towers import EfficientNetLite0
from textir_hf.tasks import get_task
from training.adversarial import discriminator_loss, generator_loss, r1_penalty
from training.objective import Objective, clip_loss
from training.perceptual import FrozenFeatures, VGGPerceptualLoss, feature_loss
from training.run import set_up
from training.samples import MaskSampler, collate


def test_adversarial_losses_have_eq_6s_values():
    zero, one, everywhere = [torch.zeros(4, 1, 1, 1)], [torch.ones(4, 1, 2, 2)], torch.ones(4, 1, 8, 8)
    assert discriminator_loss(zero, [zero], everywhere).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(one, [[-one[0]]], everywhere).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))
    assert generator_loss(one, everywhere).item() == pytest.approx(math.log(1 + math.exp(-1)))
    expected = 1.5 * math.log(2) + math.log(1 + math.e) / 2
    assert discriminator_loss(zero, [zero, one], everywhere).item() == pytest.approx(expected)
    expected = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert generator_loss([*zero, *one], everywhere).item() == pytest.approx(expected)


def test_only_places_that_were_repainted_count():
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 5, 6] = 1  # in the last of four places
    real, fake, everywhere = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2), torch.ones(2, 1, 8, 8)
    losses = [discriminator_loss([real], [[fake]], mask), generator_loss([fake], mask)]
    last = [x[..., 1:, 1:] for x in (real, fake)]
    expected = [discriminator_loss([last[0]], [[last[1]]], everywhere), generator_loss([last[1]], everywhere)]
    torch.testing.assert_close(losses, expected)
    assert discriminator_loss([real], [[fake]], torch.zeros_like(mask)) == 0  # nothing was repainted: no NaN


def test_r1_penalty_of_a_linear_discriminator_is_its_squared_weight_norm():
    images, weight = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(48)
    logits = (images.flatten(1) @ weight)[:, None, None, None]
    torch.testing.assert_close(r1_penalty([logits], [images]), weight.square().sum())


def test_r1_penalty_of_independent_places_is_the_mean_of_theirs():
    images = torch.randn(2, 3, 4, 4, requires_grad=True)
    conv = torch.nn.Conv2d(3, 1, 2, stride=2)
    torch.testing.assert_close(r1_penalty([conv(images)], [images]), conv.weight.square().sum())


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
    features, target = FrozenFeatures(EfficientNetLite0()), torch.rand(2, 3, 64, 64)
    noise = torch.randn_like(target)
    maps = [features((target + s * noise).clamp(0, 1)) for s in (0, 0.05, 0.2)]
    values = [feature_loss(x, maps[0]).item() for x in maps]
    assert [list(x.shape[1:]) for x in maps[0]] == [[24, 16, 16], [40, 8, 8], [112, 4, 4], [320, 2, 2]]
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
def test_lpips_is_zero_for_itself_and_grows_with_the_difference():
    lpips = LPIPS(SHARED / "weights" / "lpips_alexnet.safetensors")
    images = torch.rand(2, 3, 64, 64)
    assert lpips(images, images).abs().max() < 1e-6
    blurred = F.avg_pool2d(images, 3, 1, 1)
    near, far = lpips(images, (images + 0.02).clamp(0, 1)), lpips(images, blurred)
    assert (near < far).all()


def degraded(task, images: torch.Tensor) -> dict:
    """What a task makes of images: tensors stacked, numbers as lists."""
    masks = MaskSampler(images.shape[-1], [0.0, 0.0, 1.0], None)
    return collate(
        [{"damaged": [], **task.degrade(image[None], random.Random(i), masks)} for i, image in enumerate(images)]
    )


def test_the_rim_of_a_mask_is_where_it_meets_what_is_known():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 20:] = 1  # it reaches the image's edge, which is no border
    weight = rim(mask)[0, 0]
    assert (weight[mask[0, 0] == 0] == 0).all() and (weight[14:26, 24:] == 0).all()
    assert weight[20, 20] > 0.8 and weight[20, 20] > weight[20, 22] > 0 and weight[10, 35] > 0.8


def test_only_the_border_of_a_mask_is_kept_under_another_condition():
    task, target = get_task("inpainting"), torch.rand(2, 3, 1, 1).expand(-1, -1, 64, 64)
    batch = degraded(task, target)
    batch["mask"] = torch.zeros(2, 1, 64, 64)
    batch["mask"][..., 16:48, 16:48] = 1
    sample = target.clone()
    sample[..., 24:40, 24:40] += 1.0
    restored = task.restored(sample, target, batch)
    assert (task.preserved_error(sample, restored, target, batch) == 0).all()
    expected = torch.full((2,), 256 / 4096)  # the network's known pixels are the target's here
    torch.testing.assert_close(task.reconstruction_error(sample, restored, target, batch), expected, rtol=1e-4, atol=0)
    sample[..., 16:20, 16:48] += 1.0
    restored = task.restored(sample, target, batch)
    assert (task.preserved_error(sample, restored, target, batch) > 0.01).all()
    known, errors = batch["mask"].expand_as(target) == 0, task.preserved_error(sample, restored, target, batch)
    sample[..., :8, :] += 1.0
    restored = task.restored(sample, target, batch)
    torch.testing.assert_close(task.preserved_error(sample, restored, target, batch) - errors, torch.full((2,), 1 / 16))
    assert torch.equal(task.restored(sample, target, batch)[known], target[known])


def test_only_the_small_image_is_kept_under_another_condition():
    task, target = get_task("super-resolution"), torch.rand(3, 3, 64, 64)
    batch = degraded(task, target)
    assert batch["factor"] == [round(64 * s) for s in batch["strength"].tolist()]
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 - 0.5
    error = task.preserved_error(target + checkers, target + checkers, target, batch)
    assert (error < 0.01).all()
    assert (task.reconstruction_error(target + checkers, target + checkers, target, batch) == 0.5).all()
    torch.testing.assert_close(task.preserved_error(target, target + 0.1, target, batch), torch.full((3,), 0.1))


def test_only_what_lies_around_an_object_is_kept_under_another_condition():
    task, target = get_task("colorization"), torch.full((2, 3, 64, 64), 0.5)
    batch = degraded(task, target)
    batch["object_mask"] = torch.zeros(2, 1, 64, 64)
    batch["object_mask"][..., 16:48, 16:48] = 1
    sample = batch["chroma"].clone()
    sample[..., 20:44, 20:44] += 20
    restored = task.restored(sample, target, batch)
    assert (task.preserved_error(sample, restored, target, batch) == 0).all()
    expected = torch.full((2,), (0.2 - 0.015) * 576 / 4096)  # smooth L1 of 0.2 with beta 0.03
    torch.testing.assert_close(task.reconstruction_error(sample, restored, target, batch), expected, rtol=1e-3, atol=0)
    sample[..., :4, :] += 20
    assert (task.preserved_error(sample, restored, target, batch) > 0.005).all()
    batch["object_mask"][0] = 0  # nothing is known of the first image, so nothing has to stay
    errors = task.preserved_error(sample, restored, target, batch)
    assert errors[0] == 0 and errors[1] > 0.005
    del batch["object_mask"]
    assert (task.preserved_error(sample, restored, target, batch) == 0).all()


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_a_swapped_condition_is_judged_by_the_clip_and_adversarial_losses_alone(task, config):
    run = set_up(config(task=task, swap_probability=1.0, lambda_features=0.1, train_batch_size=4))
    batch = next(run.batches())
    terms, pair = run.objective.generator_terms(run.networks.generator, None, batch, 0)
    assert terms["features"] == 0
    if task == "super-resolution":  # the network's output is not the restored image elsewhere
        expected = run.maker.task.preserved_error(pair.restored, pair.restored, pair.target, batch).mean()
        torch.testing.assert_close(terms["l1"], expected)
        assert terms["l1"] > 0
    if task == "inpainting":  # beside what the network makes of the known pixels
        rim_error = run.maker.task.preserved_error(pair.target, pair.restored, pair.target, batch).mean()
        assert terms["l1"] > rim_error > 0
    terms["clip"].backward()
    assert run.networks.generator.style.weight.grad.abs().sum() > 0


def test_swapped_conditions_are_the_next_images_or_a_sentences(config):
    run = set_up(config(swap_probability=0.5, train_batch_size=4))
    batch = next(run.batches()) | {
        "swapped": torch.tensor([True, False, True, False]),
        "sentence": torch.tensor([-1, 3, 2, -1]),
    }
    target = batch["target"].float() / 255
    own = run.encoder.images(target)
    mixed = run.objective._swapped(batch, own)
    assert torch.equal(mixed, torch.stack([own[1], own[1], run.objective.sentences[2], own[3]]))


def test_a_dropped_condition_is_the_empty_sentences(config):
    run = set_up(config(condition_dropout=0.5, train_batch_size=4, embedding_noise=0.0))
    batch = next(run.batches()) | {"dropped": torch.tensor([True, False, True, False])}
    own, empty = run.encoder.images(batch["target"].float() / 255), run.encoder.texts([""])[0]
    condition = run.objective._condition(batch, own)
    torch.testing.assert_close(condition, torch.stack([empty, own[1], empty, own[3]]))


def test_a_caption_takes_the_embeddings_place_as_the_condition_alone(config):
    run = set_up(config(caption_probability=0.5, train_batch_size=4, embedding_noise=0.0))
    batch = next(run.batches()) | {"caption": ["", "a red flower", "", "a face"]}
    target = batch["target"].float() / 255
    own, texts = run.encoder.images(target), run.encoder.texts(["a red flower", "a face"])
    torch.testing.assert_close(run.objective._condition(batch, own), torch.stack([own[0], texts[0], own[2], texts[1]]))
    _, pair = run.objective.generator_terms(run.networks.generator, None, batch, 0)
    torch.testing.assert_close(pair.given, own)  # what the losses compare with is still the image


def test_a_matched_loss_counts_its_share_of_the_batch():
    images = torch.rand(4, 3, 8, 8)
    restored, loss = images + torch.arange(4.0)[:, None, None, None], torch.nn.L1Loss()
    batches = [{"target": images} | m for m in ({}, {"matched": torch.tensor([1, 3])}, {"matched": torch.tensor([])})]
    values = [Objective._matched(loss, restored, images, batch) for batch in batches]
    torch.testing.assert_close(torch.stack(values), torch.tensor([1.5, 1.0, 0.0]))
    values = [Objective._matched(lambda a, b: loss(*a, *b), [restored], [images], batch).item() for batch in batches]
    assert values == pytest.approx([1.5, 1.0, 0.0])


def test_the_total_weighs_the_terms_as_eq_8_and_r1_for_the_steps_without_it(config):
    run = set_up(config(lambda_adversarial=0.5, lambda_clip=0.25, r1_weight=8.0, r1_every=4))
    terms = {name: torch.tensor(1.0) for name in ("l1", "clip", "adversarial")}
    assert run.objective.total(terms) == 1.0 + 0.25 + 0.5
    assert run.objective.total({"discriminator": torch.tensor(1.0), "r1": torch.tensor(1.0)}) == 0.5 + 0.5 * 8 / 2 * 4


def test_the_clip_loss_of_a_step_counts_for_the_steps_without_it(config):
    run = set_up(config(lambda_clip=0.25, clip_start=2, clip_every=3))
    generator, discriminator, batch = run.networks.generator, run.networks.discriminator, next(run.batches())
    taken = [
        step for step in range(8) if "clip" in run.objective.generator_terms(generator, discriminator, batch, step)[0]
    ]
    assert taken == [3, 6]
    assert run.objective.total({"clip": torch.tensor(1.0)}) == 0.25 * 3

import numpy as np
import pytest
import torch
from conftest import SHARED, make_image
from PIL import Image
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio
from torch.nn import functional as F

from textir_hf import metrics
from textir_hf.metrics import functional, perceptual
from textir_hf.metrics.functional import colorfulness, frechet_distance, psnr, region_crop, ssim

WEIGHTS = SHARED / "weights"
needs_weights = pytest.mark.skipif(not SHARED.exists(), reason="needs the weights of LPIPS")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    # evaluate keeps its modules and its rows there
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path_factory.getbasetemp() / "metrics"))


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    target = np.asarray(make_image(48, 40, seed))
    noise = np.random.default_rng(seed).normal(0, 12, target.shape)
    return (target + noise).clip(0, 255).astype(np.uint8), target


def box() -> np.ndarray:
    mask = np.zeros((40, 48), bool)
    mask[10:30, 12:40] = True
    return mask


def test_with_a_mask_only_its_pixels_count():
    restored, target = pair()
    mask = box()
    same = np.where(mask[..., None], restored, target)
    assert psnr(same, target, mask) == psnr(restored, target, mask)
    inside = peak_signal_noise_ratio(target[10:30, 12:40], restored[10:30, 12:40])
    assert psnr(restored, target, mask) == pytest.approx(inside, abs=1e-6)
    assert psnr(same, target, ~mask) == np.inf
    assert ssim(same, target, mask) < ssim(same, target) < 1
    far = np.zeros_like(mask)
    far[:, :4] = True  # the window reaches 5 pixels
    assert ssim(same, target, far) == pytest.approx(1)


def test_bad_images_are_named():
    image, mask = np.zeros((12, 20, 3), np.uint8), np.ones((12, 20), bool)
    for given, message in (
        ((image / 255, image, mask), "restored image .*float64"),
        ((image, image[..., 0], mask), r"target .*\[H, W, 3\]"),
        ((image, np.zeros((12, 21, 3), np.uint8), mask), "21x12.* 20x12"),
        ((image, image, mask * 1.0), "mask must be boolean"),
    ):
        with pytest.raises(ValueError, match=message):
            psnr(*given)
    with pytest.raises(ValueError, match="11x11"):
        ssim(image[:8], image[:8])


def test_frechet_distance_is_the_formulas_and_works_with_few_images():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (50, 6)), rng.normal(0.3, 1.5, (70, 6)) @ rng.normal(0, 1, (6, 6))
    roots = sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    gap = np.square(first.mean(0) - second.mean(0)).sum()
    expected = gap + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * roots)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    few = rng.normal(0, 1, (3, 40))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, few + 1) == pytest.approx(40)
    with pytest.raises(ValueError, match="got 1 and 3"):
        frechet_distance(few[:1], few)


def test_colorfulness_is_zero_for_gray_and_known_for_one_color():
    assert colorfulness(np.full((4, 4, 3), 90, np.uint8)) == 0
    red = np.full((4, 4, 3), [200, 0, 0], np.uint8)
    assert colorfulness(red) == pytest.approx(0.3 * np.hypot(200, 100))


def test_crops_are_squares_around_the_mask_inside_the_image():
    image = np.arange(40 * 48).reshape(40, 48)
    mask = np.zeros((40, 48), bool)
    mask[0:3, 44:48] = True
    assert (region_crop(image, mask) == image[:20, 28:]).all()
    assert region_crop(image, box()).shape == (28, 28)
    assert region_crop(image, np.ones((40, 48), bool)).shape == (40, 40)


@needs_weights
def test_lpips_sees_only_the_mask():
    lpips = perceptual.LPIPS(WEIGHTS / "lpips_alexnet.safetensors")
    images, mask = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    mask[:, :, :, 32:] = 1
    assert lpips(images, images).abs().max() < 1e-6
    blurred = F.avg_pool2d(images, 3, 1, 1)
    half = torch.where(mask > 0, blurred, images)
    assert (lpips(images, half, mask) > 1.3 * lpips(images, half)).all()
    torch.testing.assert_close(lpips(images, blurred, torch.ones(2, 1, 64, 64)), lpips(images, blurred))


@needs_weights
@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_modules_give_the_mean_and_the_values_of_batches_with_masks(name):
    restored, targets = zip(*(pair(i) for i in range(3)), strict=True)
    metric = metrics.load(name)
    for one, other in zip(restored, targets, strict=True):
        metric.add_batch(predictions=[Image.fromarray(one)], references=[Image.fromarray(other)])
    result = metric.compute(masks=[box()] * 3)
    expected = [getattr(functional, name)(r, t, box()) for r, t in zip(restored, targets, strict=True)]
    assert result["values"] == expected and result[name] == np.mean(expected)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ssim", {"masks": [box()] * 2}, "masks must .*1 predictions, got 2"),
        ("clip_score", {"references": [" "]}, "references"),
        ("fid", {}, "psnr, ssim"),
    ],
)
def test_modules_refuse_bad_input(name, change, message):
    with pytest.raises(ValueError, match=message):
        metrics.load(name).compute(**{"predictions": [pair()[0]], "references": [pair()[1]]} | change)


def test_masked_scores_of_embeddings_see_the_region():
    image = np.full((64, 64, 3), 128, np.uint8)
    image[:24, :24] = (200, 20, 20)
    mask = np.zeros((64, 64), bool)
    mask[:24, :24] = True
    score = metrics.load("clip_score")
    region = score.compute(predictions=[image], references=["a red flower"], masks=[mask])["clip_score"]
    cut = functional.region_crop(image, mask)
    assert region == pytest.approx(score.compute(predictions=[cut], references=["a red flower"])["clip_score"])
    distance = metrics.load("frechet_distance")
    several = [np.asarray(make_image(64, 64, i)) for i in range(3)]
    assert distance.compute(predictions=several, references=several, masks=[mask] * 3)["frechet_distance"] < 1e-6

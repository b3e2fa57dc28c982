import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch.nn import functional as F

from textir_hf.imaging import color, resample


def test_lab_is_scikit_images():
    images = torch.rand(1, 3, 6, 5)
    expected = torch.from_numpy(rgb2lab(images[0].movedim(0, -1).numpy())).movedim(-1, 0).float()
    lab = torch.cat([color.lightness(images), color.chroma(images)], 1)[0]
    assert (lab - expected).abs().max() < 0.05
    white = color.lightness(torch.ones(1, 3, 1, 1)).item()
    assert white == pytest.approx(100, abs=0.01)


def test_lab_to_8_bits_keeps_every_lightness():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.rand(1, 1, 40, 50, generator=generator) * 100
    chroma = torch.rand(1, 2, 40, 50, generator=generator) * 240 - 120  # most of it beyond sRGB
    image = color.lab_to_bytes(wanted, chroma).movedim(0, -1).numpy()
    got = color.lightness(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert image.dtype == np.uint8 and (got - wanted).abs().max() < 0.5 / 255 * 100
    inside = color.chroma(torch.tensor([0.2, 0.5, 0.7])[None, :, None, None])
    lightness = color.lightness(torch.tensor([0.2, 0.5, 0.7])[None, :, None, None])
    kept = color.lab_to_bytes(lightness, inside).movedim(0, -1).numpy()
    assert np.abs(kept[0, 0] / 255 - [0.2, 0.5, 0.7]).max() < 1.01 / 255


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "smaller"), [((128, 128), (2, 2)), ((70, 301), (1, 5)), ((40, 33), (40, 9))])
def test_matrices_shrink_as_pytorchs_filters(mode, size, smaller):
    """A GPU takes them where its own kernel has no room."""
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, smaller, mode=mode, antialias=True, align_corners=False)
    torch.testing.assert_close(resample.filter_lines(images, smaller, mode), expected, rtol=0, atol=1e-5)

"""What users give as an image, as 8-bit RGB; and masks, as booleans."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from textir_hf.imaging.profiles import decoding, to_8_bits, to_srgb

_SOFT = (25, 230)  # levels between are neither black nor white
_MOST_SOFT = 0.25  # share of such pixels in a mask: blurred borders stay below, photos above
_FEW = 0.001

ImageInput = Image.Image | np.ndarray | Tensor


@dataclass(frozen=True, eq=False)
class Raster:
    """An image as arrays."""

    rgb: np.ndarray  # [H, W, 3] uint8, sRGB
    alpha: np.ndarray | None = None  # [H, W] uint8, None where all is opaque
    profile: bytes | None = None  # sRGB's, if the source carried one

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rgb.shape[0], self.rgb.shape[1]


def to_raster(image: ImageInput, name: str = "image") -> Raster:
    """One image as 8-bit RGB and, if it is transparent anywhere, its alpha.

    A PIL image of any mode with 8 or 16 bits; an array `[H, W]` or `[H, W, C]`, uint8, uint16 or float in [0, 1]; or a
    tensor `[C, H, W]`, uint8 or float in [0, 1]; with 1, 3 or 4 channels.
    """
    if isinstance(image, Image.Image):
        with decoding(name):  # a lazily opened file is read here
            image.load()
            srgb = to_srgb(image, name)
        return _split(np.array(srgb), srgb.info.get("icc_profile"))
    array = np.asarray(image) if isinstance(image, np.ndarray) else _from_tensor(image, name)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold real numbers, got an array of the type {array.dtype}.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"{name} must be [H, W, 3] as an array or [3, H, W] as a tensor, got {list(image.shape)}.")
    if array.dtype == np.uint16:
        array = to_8_bits(array)
    elif array.dtype != np.uint8:
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"{name} must lie in [0, 1], got {array.min():.3g} to {array.max():.3g}.")
        array = (array * 255).round().astype(np.uint8)
    return _split(array, None)


def _from_tensor(tensor: Tensor, name: str) -> np.ndarray:  # [C, H, W] -> [H, W, C]
    if not isinstance(tensor, torch.Tensor):
        kind = type(tensor).__name__
        raise ValueError(f"{name} must be a PIL image, an array or a tensor, got {kind}. Read files with open_image.")
    try:
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy(force=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name} must be a dense tensor of real numbers that holds data.") from error
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _split(array: np.ndarray, profile: bytes | None) -> Raster:
    rgb = np.ascontiguousarray(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)))
    rgb = rgb if rgb.flags.writeable else rgb.copy()
    alpha = array[..., 3] if array.shape[-1] == 4 else None
    return Raster(rgb, None if alpha is None or alpha.min() == 255 else alpha.copy(), profile)


def fill_transparent(raster: Raster) -> Raster:
    """Gives pixels that are wholly transparent the color of the nearest that is not.

    What color they hide is chance, and would mix with their neighbors' wherever an image is resized or restored.
    """
    hidden = None if raster.alpha is None else raster.alpha == 0
    if hidden is None or not hidden.any() or hidden.all():
        return raster
    rows, columns = ndimage.find_objects(hidden.view(np.uint8))[0]  # all of them, and one pixel around
    window = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in (rows, columns))
    nearest = ndimage.distance_transform_edt(hidden[window], return_distances=False, return_indices=True)
    rgb = raster.rgb.copy()
    rgb[window] = rgb[window][tuple(nearest)]
    return replace(raster, rgb=rgb)


def to_mask(image: ImageInput, size: tuple[int, int], name: str = "mask_image") -> np.ndarray:
    """A mask as booleans: True where the image is at least half white and not transparent.

    An image that is opaque but for the masked region, as some programs want it, is a mask too: there, True is where it
    is transparent. `size` is the image's height and width; the result is `[H, W]` bool.
    """
    raster = to_raster(image, name)
    if raster.size != size:
        (height, width), (own_height, own_width) = size, raster.size
        raise ValueError(f"{name} must have the image's size {width}x{height}, got {own_width}x{own_height}.")
    white = (raster.rgb.sum(-1, dtype=np.uint16) // 3).astype(np.uint8)
    if raster.alpha is not None:
        white = _marked_by_alpha(white, raster.alpha, name)
    if (soft := _soft_share(white)) > _MOST_SOFT:
        text = f"{soft:.0%} of it is neither: it looks like a photo. Give a mask"
        raise ValueError(f"{name} must be black and white, but {text}.")
    mask = white >= 128
    if not mask.any():
        raise ValueError(f"{name} marks nothing: paint white what is to be restored.")
    return mask


def _soft_share(white: np.ndarray) -> float:
    return float(((white > _SOFT[0]) & (white < _SOFT[1])).mean()) if white.size else 0.0


def _marked_by_alpha(white: np.ndarray, alpha: np.ndarray, name: str) -> np.ndarray:
    """How much each pixel of a transparent mask is marked, from how white and opaque it is: `[H, W]` uint8."""
    opaque = white[alpha >= 128]
    bright = (opaque >= 128).mean() if opaque.size else 1.0
    if bright < _FEW or _soft_share(opaque) > _MOST_SOFT:  # black, or the image itself
        return 255 - alpha
    if bright <= 1 - _FEW:
        raise ValueError(f"{name} is black, white and transparent, so it may mean two regions. Make it opaque.")
    return (white.astype(np.uint16) * alpha // 255).astype(np.uint8)

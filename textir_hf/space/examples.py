"""Pictures to try the page with: photos from scikit-image that may be shown."""

from functools import lru_cache

import numpy as np
from PIL import Image
from skimage import data

from textir_hf.space.masks import face_part

_FACE = (153, 42, 291, 180)  # the astronaut's face and hair


@lru_cache
def portrait(side: int = 256) -> Image.Image:
    """The astronaut's face, in a square."""
    return Image.fromarray(data.astronaut()).crop(_FACE).resize((side, side), Image.LANCZOS)


def gray(name: str, side: int = 400) -> Image.Image:
    """A photo of scikit-image without its colors, at most `side` pixels wide."""
    photo = Image.fromarray(np.asarray(getattr(data, name)())).convert("L").convert("RGB")
    photo.thumbnail((side, side))
    return photo


# label: part of the portrait to fill, sentence
FILL = {
    "A smile": ("Mouth", "a smiling woman"),
    "A serious look": ("Mouth", "a serious woman"),
    "Bangs": ("Upper half", "a woman with bangs"),
    "Black hair": ("Upper half", "a man with black hair"),
}
# label: side of the small picture, times, sentence
ENLARGE = {
    "32 pixels, 8x": (32, 8, "a smiling woman"),
    "16 pixels, 16x, blond": (16, 16, "a woman with blond hair"),
    "16 pixels, 16x, man": (16, 16, "a man with black hair"),
}
# label: photo, sentence
COLOR = {
    "A red cup": ("coffee", "a red cup of coffee"),
    "A blue cup": ("coffee", "a blue cup of coffee"),
    "An orange cat": ("chelsea", "an orange cat"),
    "A rocket at sunset": ("rocket", "a rocket at sunset"),
}


def fill_example(label: str) -> tuple[Image.Image, np.ndarray, str]:
    """ImageInput, mask and sentence."""
    part, prompt = FILL[label]
    image = portrait()
    return image, face_part(image, part), prompt

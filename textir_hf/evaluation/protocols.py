"""Protocols: the images and measurements of the paper's tables, and of the embedded checkpoints."""

from dataclasses import dataclass, field
from itertools import product

OURS = ("ours, right prompt", "ours, shuffled prompt", "ours, empty prompt", "ours, image embedding")


@dataclass(frozen=True)
class Contrast:
    """Two sentences of which at most one is true of an image."""

    name: str
    prompts: tuple[str, str]
    region: tuple[float, float, float, float] = (0.25, 0.25, 0.75, 0.75)  # repainted: left, top, right, bottom; shares


@dataclass(frozen=True)
class Protocol:
    """One evaluation: the images, their damage, and the sentences."""

    task: str  # of the checkpoints
    title: str  # of the images
    files: tuple[str, ...] = ()  # parquet files in the folder --data; empty where --data is itself the data set
    masks: str | None = None  # parquet file of masks in that folder, or None where --masks must name them
    checkpoint: str | None = None  # measured if no other is named
    size: int | None = None  # side of the images in pixels; None is the checkpoint's
    whole: bool = False  # the images as they are, in place of squares
    ours: tuple[str, ...] = OURS  # what the checkpoint restores under; images without sentences: the empty prompt alone
    per_file: int | None = None  # maximum number of images of each file, evenly spread
    mask_shares: tuple[float, float] = (0.0, 1.0)  # of the image that irregular masks cover
    boxes: bool = False  # also measure boxes, which are harder than strokes of the same area
    factors: tuple[int, ...] = ()  # by which images lose resolution
    effect_factor: int = 16  # under which contrasts are measured
    # by file, "" for any; the nearest to the image is right
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()
    color_words: dict[str, str] = field(default_factory=dict)  # by file: a prompt with {} for a color word
    published: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # PSNR, SSIM, LPIPS of the paper

    def candidates_of(self, file: str) -> tuple[str, ...]:
        """The sentences of which the nearest to an image of a file is right; none where images have captions."""
        return self.candidates.get(file, self.candidates.get("", ()))

    def needs_captions(self, file: str) -> bool:
        """Whether an image's right prompt is its captions."""
        return self.ours == OURS and not self.candidates_of(file)


FACES, MASKS = "faces_synthetic_256.parquet", "irregular_masks_256.parquet"
FLOWERS, CLOTHING, SCENES = "flowers_176.parquet", "clothing_176.parquet", "flickr8k_176.parquet"
_HAIR = ("black", "blond", "brown", "gray")
_FACE_SENTENCES = tuple(
    f"a {look} {who} with {hair} hair{more}"
    for look, who, hair, more in product(("smiling", "serious"), ("man", "woman"), _HAIR, ("", " and glasses"))
)
_COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
_FLOWER_COLORS = ("red", "orange", "yellow", "blue", "purple", "pink", "white")
_FLOWER_KINDS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
_FLOWER_SENTENCES = tuple(f"a {color} {kind}" for color, kind in product(_FLOWER_COLORS, _FLOWER_KINDS))
_GARMENTS = ("dress", "hat", "jacket", "pair of pants", "shirt", "pair of shoes", "pair of shorts", "skirt", "t-shirt")
_CLOTHING_SENTENCES = tuple(f"a {color} {kind}" for color, kind in product(_COLORS, _GARMENTS))
_FACE_CONTRASTS = (
    Contrast("smiling / serious", ("a smiling person", "a serious person"), (0.2, 0.55, 0.8, 0.9)),
    Contrast("glasses / none", ("a person with glasses", "a person with no glasses"), (0.1, 0.3, 0.9, 0.6)),
    Contrast("blond / black hair", ("a person with blond hair", "a person with black hair"), (0.0, 0.0, 1.0, 0.35)),
    Contrast("man / woman", ("a man", "a woman"), (0.0, 0.45, 1.0, 1.0)),
    Contrast("young / old", ("a young person", "an old person"), (0.1, 0.2, 0.9, 0.9)),
)
_COLOR_CONTRASTS = (
    Contrast("red / blue", ("a red flower", "a blue flower")),
    Contrast("yellow / purple", ("a yellow flower", "a purple flower")),
    Contrast("red / blue garment", ("a red piece of clothing", "a blue piece of clothing")),
    Contrast("green / pink garment", ("a green piece of clothing", "a pink piece of clothing")),
)
_ALIGNED = "aligned faces at 256 px, such as FFHQ, without captions"
_FACES: dict = {"candidates": {"": _FACE_SENTENCES}, "contrasts": _FACE_CONTRASTS}
_MASKED: dict = {"checkpoint": "textir-mini-inpainting", "mask_shares": (0.1, 0.4), "boxes": True}
_SHRUNK: dict = {"checkpoint": "textir-mini-super-resolution", "factors": (4, 8, 16)}
_GRAY: dict = {"checkpoint": "textir-mini-colorization"}

PRESETS = {
    "table-1": Protocol(
        "inpainting",
        "Multi-Modal-CelebA-HQ at 256 px, irregular masks, captions averaged (Table 1 of the paper)",
        size=256,
        contrasts=_FACE_CONTRASTS,
        published={"Blended-diffusion, published": (23.16, 0.901, 0.226), "TextIR, published": (29.83, 0.932, 0.068)},
    ),
    "table-2": Protocol(
        "colorization",
        "COCO-Stuff at 256 px, captions averaged (Table 2 of the paper)",
        size=256,
        published={"L-CoDe, published": (24.965, 0.916, 0.169), "TextIR, published": (26.70, 0.923, 0.124)},
    ),
    "table-3": Protocol(
        "super-resolution",
        "Multi-Modal-CelebA-HQ at 512 px, captions averaged (Table 3 of the paper)",
        size=512,
        factors=(16,),
        contrasts=_FACE_CONTRASTS,
        published={"GPEN, published": (26.82, 0.704, 0.273), "TextIR, published": (27.41, 0.784, 0.227)},
    ),
    "photos-4x": Protocol(
        "super-resolution",
        "photos as they are, such as Set5, Set14, BSD100, Urban100 or Kodak24, without captions",
        checkpoint="textir-mini-super-resolution",
        whole=True,
        ours=OURS[2:3],
        factors=(4,),
    ),
    "faces-inpainting": Protocol("inpainting", _ALIGNED, size=256, **_FACES, **_MASKED),
    "faces-super-resolution": Protocol("super-resolution", _ALIGNED, size=256, **_FACES, **_SHRUNK),
    "faces-colorization": Protocol("colorization", _ALIGNED, size=256, **_GRAY | {"candidates": _FACES["candidates"]}),
    "textir-mini-inpainting": Protocol("inpainting", "test faces", (FACES,), MASKS, **_FACES, **_MASKED),
    "textir-mini-super-resolution": Protocol("super-resolution", "test faces", (FACES,), **_FACES, **_SHRUNK),
    "textir-mini-colorization": Protocol(
        "colorization",
        "test flowers, clothing and scenes",
        (FLOWERS, CLOTHING, SCENES),
        per_file=100,
        candidates={FLOWERS: _FLOWER_SENTENCES, CLOTHING: _CLOTHING_SENTENCES},
        contrasts=_COLOR_CONTRASTS,
        color_words={FLOWERS: "a {} flower", CLOTHING: "a {} piece of clothing"},
        **_GRAY,
    ),
}

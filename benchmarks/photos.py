"""Time and memory of the embedded networks on large photos and photos with faces.

python -m benchmarks.photos

Each case runs in its own process. Its peak memory includes Python, PyTorch and the networks.
"""

import numpy as np
from matplotlib import cbook
from PIL import Image, ImageDraw
from skimage import data

from benchmarks.common import isolated, print_table, timed
from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.pipeline.faces import find_faces
from textir_hf.tasks import TASKS

_SIDE = 320  # of a portrait
_BOXES = ((0.17, 0.25, 0.37, 0.475), (0.67, 0.75, 0.7, 0.825), (0.98, 0.0, 1.0, 0.025))  # shares of the sides
LARGE = {  # task and scale, by title
    "inpaint, three masked regions": ("inpainting", None),
    "colorize": ("colorization", None),
    "upscale 2x to 96 megapixels": ("super-resolution", 2),
}


def one_face() -> Image.Image:
    """A photo in which a face fills a third of the height."""
    return Image.fromarray(data.astronaut()).crop((73, 0, 373, 300)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def four_faces() -> Image.Image:
    """Four portraits of two people, in two rows."""
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        other = photo.convert("RGB").crop((90, 30, 430, 370)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (2 * _SIDE, 2 * _SIDE), "gray")
    for i in range(4):
        canvas.paste(one_face() if i in (0, 3) else other, (i % 2 * _SIDE, i // 2 * _SIDE))
    return canvas


def large_photo() -> Image.Image:
    """24 megapixels, in which the four portraits fill little."""
    photo = Image.fromarray(data.coffee()).resize((6000, 4000), Image.Resampling.BICUBIC)
    photo.paste(four_faces(), (4000, 2500))
    return photo


PHOTOS = {
    "one face": one_face,
    "four faces": four_faces,
    "one face, turned by 30°": lambda: one_face().rotate(30, Image.Resampling.BICUBIC, expand=True, fillcolor="gray"),
    "four faces in 24 megapixels": large_photo,
    "no face": lambda: Image.fromarray(data.coffee()),
}


def large(title: str) -> dict:
    """A photo of 24 megapixels."""
    (task, scale), size = LARGE[title], (6000, 4000)
    image = Image.fromarray(data.coffee()).resize(size, Image.Resampling.BICUBIC)
    arguments = {} if scale is None else {"scale": scale}
    if task == "inpainting":
        arguments["mask_image"] = Image.new("L", size)
        for box in _BOXES:
            arguments["mask_image"].paste(255, tuple(round(s * size[i % 2]) for i, s in enumerate(box)))
    result, seconds, cpu = timed(
        lambda: load_pipeline(None, TASKS[task])("a cup of coffee", image, **arguments).images[0]
    )
    return {"result": f"{result.width}x{result.height}", "s": seconds, "CPU s": cpu}


def with_faces(task: str, kind: str) -> dict:
    """A photo restored with and without `faces`."""
    photo, mask = PHOTOS[kind](), None
    if task == "inpainting":  # masks the mouths, or the middle where there is no face
        found, mask = find_faces(np.asarray(photo)), Image.new("L", photo.size)
        for face in found:
            (x, y), width = face.landmarks[3:].mean(0), np.linalg.norm(face.landmarks[0] - face.landmarks[1])
            ImageDraw.Draw(mask).ellipse((x - 0.6 * width, y - 0.4 * width, x + 0.6 * width, y + 0.4 * width), fill=255)
        if not found:
            mask.paste(255, tuple(round(share * side) for share in (0.4, 0.6) for side in photo.size))
        given = {"image": photo, "mask_image": mask}
    else:
        scale = 4 if photo.width > 3000 else 8
        given = {"image": photo.reduce(scale), "scale": scale}
    pipe, prompt = load_pipeline(None, TASKS[task]), "a smiling woman"
    find_faces(np.zeros((64, 64, 3), np.uint8))  # loads the detector
    result, seconds, cpu = timed(lambda: pipe(prompt, faces="auto", **given).images[0])
    _, plain_seconds, plain_cpu = timed(lambda: pipe(prompt, **given))
    columns = {"faces": result.info["textir"]["faces_found"], "s": seconds, "CPU s": cpu}
    return columns | {"without faces, s": plain_seconds, "without faces, CPU s": plain_cpu, "times": cpu / plain_cpu}


def main() -> None:
    print_table("24 megapixels", {title: isolated(large, title) for title in LARGE})
    pairs = [(task, kind) for task in ("super-resolution", "inpainting") for kind in PHOTOS]
    print_table("faces", {", ".join(pair): isolated(with_faces, *pair) for pair in pairs})


if __name__ == "__main__":
    main()

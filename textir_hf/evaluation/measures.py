"""A checkpoint under several conditions, and everything that is measured of one image of a test set."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from textir_hf import TextIRPipeline
from textir_hf.evaluation.damages import Damage, Extent, mask_of
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import OURS, Protocol
from textir_hf.imaging import color
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics import functional
from textir_hf.metrics.perceptual import LPIPS, quality
from textir_hf.models.embedding import embed_images, embed_texts

Value = tuple[str, str, str, float]  # table, row, column, value
PROTOTYPES = {  # sRGB
    "red": (200, 30, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (50, 150, 60),
    "blue": (50, 80, 200),
    "purple": (130, 50, 160),
}


class Conditions:
    """Embeddings of images and sentences, as the checkpoint takes them."""

    @torch.no_grad()
    def __init__(self, pipe: TextIRPipeline, protocol: Protocol, test_set: TestSet, images: Tensor) -> None:
        self.pipe, self.images = pipe, images  # [N, D] at unit length, of the originals
        candidates = {row.file: protocol.candidates_of(row.file) for row in test_set.test}
        embedded = {file: self._embed(texts) for file, texts in candidates.items() if texts}
        self.sentences = [test_set.captions(i) for i in range(len(test_set))]  # of every image
        for i, image in enumerate(images):
            if (file := test_set.test[i].file) in embedded:
                self.sentences[i] = [candidates[file][int((embedded[file] @ image).argmax())]]
        self.texts = None  # [N, D], their mean embeddings, not recentered
        if protocol.ours[0] == OURS[0]:
            self.texts = torch.stack([F.normalize(self._embed(s).mean(0), dim=0) for s in self.sentences])
            self.shuffled = _shuffle(self.sentences)  # numbers of the images whose sentences are the shuffled prompts
        empty = self._embed([""])  # encode_prompt takes no empty sentence
        if pipe.recentering is not None:
            empty = pipe.recentering(empty.to(pipe.recentering.device)).float().cpu()
        self._empty = empty[0]
        # [D] by name; embeddings nearer to the first sentence have a positive product with it
        self.axes = {c.name: torch.sub(*self._embed(c.prompts)) for c in protocol.contrasts}

    def of(self, index: int) -> "list[list[str] | Tensor]":
        """Sentences or embeddings `[D]` for an image, in the order of the protocol's `ours`."""
        if self.texts is None:
            return [self._empty]
        return [self.sentences[index], self.sentences[self.shuffled[index]], self._empty, self.images[index]]

    def _embed(self, sentences: Sequence[str]) -> Tensor:
        return embed_texts(self.pipe.clip, self.pipe.tokenizer, list(sentences)).cpu()


def _shuffle(sentences: list[list[str]]) -> list[int]:
    """Another image for every image, with other sentences where possible."""
    order, shuffled = list(range(len(sentences))), [0] * len(sentences)
    random.Random(0).shuffle(order)
    for place, i in enumerate(order):
        following = order[place + 1 :] + order[:place]
        shuffled[i] = next((j for j in following if sentences[j] != sentences[i]), following[0])
    return shuffled


def file_of(folder: Path, table: str, name: str) -> Path:
    """The file of an image in a table's folder: the first word of the title."""
    return folder / table.split(" ")[0] / name


class Measures:
    """A checkpoint on a test set, and perhaps `peers`, folders of other programs' results by name."""

    def __init__(self, pipe: TextIRPipeline, damage: Damage, lpips: LPIPS, peers: dict[str, Path] | None = None):
        self.pipe, self.damage, self.lpips, self.peers = pipe, damage, lpips, peers or {}
        self.options: dict = {}  # further arguments of every call
        self.protocol, self.test_set = damage.protocol, damage.test_set
        if pipe.task.name != self.protocol.task:
            raise ValueError(f"This protocol is for {self.protocol.task}, the checkpoint's task is {pipe.task.name}.")
        for name, folder in self.peers.items():
            for i, file in enumerate(self.files_of(folder)):
                if not file.is_file():
                    raise ValueError(
                        f"--against {name} must have a result for each image, but {file} is missing. Write the inputs "
                        "with --save-inputs and keep folders and names."
                    )
                height, width, _ = self.test_set.image(i % len(self.test_set)).shape
                with Image.open(file) as result:
                    if result.size != (width, height):
                        sizes = f"{result.width}x{result.height}, not {width}x{height}"
                        raise ValueError(
                            f"--against {name} must have results of the originals' sizes, {file} is {sizes}."
                        )

    def files_of(self, folder: Path) -> list[Path]:
        names = [self.test_set.name(i) for i in range(len(self.test_set))]
        return [file_of(folder, table, name) for table in self.damage.tables for name in names]

    def prepare(self, progress: Callable = iter) -> None:
        """Embeds all images and their sentences; `progress` wraps the loop over the images."""
        embeddings, descriptors = [], []
        for i in progress(range(len(self.test_set))):
            image = self.test_set.image(i)
            embeddings.append(self.embed(image))
            if self.damage.hides_identity:
                descriptors.append(self.describe(image).half())
        self.conditions = Conditions(self.pipe, self.protocol, self.test_set, torch.stack(embeddings))
        self.descriptors = torch.stack(descriptors) if descriptors else None

    @torch.no_grad()
    def embed(self, image: np.ndarray) -> Tensor:
        """The dual encoder's embedding of `[H, W, 3]` uint8: `[D]` at unit length."""
        tensor = to_tensor(np.ascontiguousarray(image), self.pipe.clip.device)
        return embed_images(self.pipe.clip, self.pipe.image_processor, tensor)[0].cpu()

    def describe(self, image: np.ndarray) -> Tensor:
        """The descriptor by which a person is recognized: `[D]` at unit length."""
        return self.lpips.descriptor(to_tensor(image, self.lpips.shift.device))[0].cpu()

    def restore(self, image: np.ndarray, conditions: Sequence, extent: Extent) -> list[np.ndarray]:
        """The checkpoint's results for a damaged image under conditions as of `Conditions.of`.

        Sentences stay sentences, since a refiner embeds them in its own way.
        """
        given, arguments = self.damage.given(image, extent)
        arguments |= self.options | {"image": Image.fromarray(given)}
        prompts = [c for c in conditions if not isinstance(c, Tensor)]
        embeds = [c for c in conditions if isinstance(c, Tensor)]
        of_prompts = iter(self.pipe(prompts, **arguments)[0] if prompts else ())
        of_embeds = iter(self.pipe(prompt_embeds=torch.stack(embeds), **arguments)[0] if embeds else ())
        return [np.asarray(next(of_embeds if isinstance(c, Tensor) else of_prompts)) for c in conditions]

    def restored(self, index: int, table: str) -> dict[str, np.ndarray]:
        """The results of every method of a table for an image."""
        image, extent = self.test_set.image(index), self.damage.extent(index, table)
        results = self.damage.baselines(image, extent)
        for name, folder in self.peers.items():
            with Image.open(file_of(folder, table, self.test_set.name(index))) as result:
                results[name] = np.asarray(result.convert("RGB"))
        ours = self.restore(image, self.conditions.of(index), extent)
        return results | dict(zip(self.protocol.ours, ours, strict=True))

    def measure(self, index: int) -> tuple[list[Value], dict[str, np.ndarray]]:
        """The values of an image in all tables of quality, and embeddings of the results, under "table|method"."""
        values: list[Value] = []
        embeddings, target = {}, self.test_set.image(index)
        for table in self.damage.tables:
            extent = self.damage.extent(index, table)
            mask = mask_of(extent)
            embeddings[f"{table}|target"] = self.conditions.images[index].numpy()
            for name, output in self.restored(index, table).items():
                embedding = self.embed(output)
                columns: dict[str, float] = {}
                embeddings[f"{table}|{name}"] = embedding.numpy()
                for prefix, region in [("", None)] if mask is None else [("", None), ("masked ", mask)]:
                    psnr, ssim, lpips = quality(output, target, region, self.lpips).values()
                    columns |= {f"{prefix}PSNR (dB)": psnr, f"{prefix}SSIM": ssim}
                    columns[f"{prefix}LPIPS"] = lpips
                columns |= self.damage.columns(output, target, extent)
                if self.conditions.texts is not None:
                    columns["CLIP score"] = 100 * max((embedding @ self.conditions.texts[index]).item(), 0)
                if self.descriptors is not None:
                    among = min(functional.AMONG, len(self.descriptors))
                    recognized = functional.is_recognized(self.describe(output), self.descriptors, index, among)
                    columns[f"recognized among {among} (%)"] = 100.0 * recognized
                values += [(table, name, column, value) for column, value in columns.items()]
        return values, embeddings


def text_effect(measures: Measures, index: int) -> list[Value]:
    """Whether both sentences of a contrast move the image to their side."""
    values, image = [], measures.test_set.image(index)
    for contrast in measures.protocol.contrasts:
        extent = measures.damage.contrast_extent(contrast)
        mask, axis = mask_of(extent), measures.conditions.axes[contrast.name]
        results = measures.restore(image, [[prompt] for prompt in contrast.prompts], extent)
        seen = results if mask is None else [functional.region_crop(result, mask) for result in results]
        first, second = ((measures.embed(part) @ axis).item() for part in seen)
        columns = {
            "nearer to its sentence than to the contrary (%)": 50.0 * ((first > 0) + (second < 0)),
            "nearer than the contrary's result (%)": 100.0 * (first > second),
            "shift (100 cosine)": 100 * (first - second),
        }
        values += [("text effect", contrast.name, *column) for column in columns.items()]
    return values


def color_words(measures: Measures, index: int) -> list[Value]:
    """The effect of color words: the hue of the middle, and the shift there and on the outer strip."""
    file = measures.test_set.test[index].file
    if file not in measures.protocol.color_words:
        return []
    template, image = measures.protocol.color_words[file], measures.test_set.image(index)
    prompts = [template.replace("{} ", ""), *(template.format(word) for word in PROTOTYPES)]
    extent = measures.damage.extent(index, measures.damage.tables[0])
    results = measures.restore(image, [[prompt] for prompt in prompts], extent)
    neutral, *colored = (color.chroma(to_tensor(result))[0].numpy() for result in results)
    side = len(image)
    inset = np.minimum(np.arange(side), np.arange(side)[::-1])  # distance from the nearer border
    inset = np.minimum(inset[:, None], inset)
    middle, border = inset >= side // 4, inset < max(side // 10, 1)
    table, values = f"color words, {file.split('_')[0]}", []
    for word, chroma in zip(PROTOTYPES, colored, strict=True):
        rgb = torch.tensor(PROTOTYPES[word], dtype=torch.float32)[None, :, None, None] / 255
        named = color.chroma(rgb)[0, :, 0, 0].numpy()
        shift = np.tensordot(named / np.linalg.norm(named), chroma - neutral, 1)
        columns = {
            "hue distance (°)": abs(np.angle(complex(*chroma[:, middle].mean(1)) / complex(*named), deg=True)),
            "shift of the middle": shift[middle].mean(),
            "shift of the border": shift[border].mean(),
        }
        values += [(table, word, name, float(value)) for name, value in columns.items()]
    return values

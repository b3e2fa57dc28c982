"""Everything that is measured of one picture of a test set."""

import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from textir_hf import TextIRPipeline
from textir_hf.evaluation import baselines
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Contrast, Protocol
from textir_hf.imaging import color, masks, resample
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.metrics import functional
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images, embed_texts
from textir_hf.tasks.super_resolution import FACTORS

OURS = ("ours, right prompt", "ours, shuffled prompt", "ours, empty prompt", "ours, image embedding")
BETAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
NEIGHBORS = 16  # pictures whose mean embedding stands for a contrast's sentence
PROTOTYPES = {  # sRGB
    "red": (200, 30, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (50, 150, 60),
    "blue": (50, 80, 200),
    "purple": (130, 50, 160),
}
Value = tuple[str, str, str, float]  # table, row, column, value


class Measures:
    """A checkpoint on a test set.

    Args:
        pipe: The checkpoint.
        protocol: What to measure; its task must be the checkpoint's.
        test_set: The pictures.
        masks: `[M, 1, S, S]` in {0, 1}, for inpainting.
        lpips: LPIPS on AlexNet.
        fillers: Further baselines of inpainting: name to a function of (picture, hole, index).

    Raises:
        ValueError: Nothing fits: the task, or no mask covers as much as the protocol asks for.
    """

    def __init__(
        self,
        pipe: TextIRPipeline,
        protocol: Protocol,
        test_set: TestSet,
        masks: Tensor | None,
        lpips: LPIPS,
        fillers: dict[str, Callable] | None = None,
    ) -> None:
        if pipe.restorer.config.task != protocol.task:
            raise ValueError(
                f"This protocol is for {protocol.task}, the checkpoint's task is {pipe.restorer.config.task}."
            )
        self.pipe, self.protocol, self.test_set, self.lpips = pipe, protocol, test_set, lpips
        self.fillers = fillers or {}
        if protocol.task == "inpainting":
            shares, (low, high) = masks.mean((1, 2, 3)), protocol.hole_shares
            self.masks = masks[(shares >= low) & (shares <= high) & (shares > 0) & (shares < 1), 0].bool().numpy()
            if not len(self.masks):
                raise ValueError(f"No mask covers {100 * low:.0f} to {100 * high:.0f} % of the picture.")
        self.mean_chroma = torch.zeros(2)

    @torch.no_grad()
    def prepare(self, progress: Callable = iter) -> None:
        """Embeds all pictures and their sentences.

        Args:
            progress: Wraps the loop over the pictures.
        """
        pipe, count = self.pipe, len(self.test_set)
        self.images = torch.cat([self._embed(self.test_set.picture(i)) for i in progress(range(count))])
        candidates = {n: (c, self._texts(c)) for n, c in self.protocol.candidates.items()}
        self.sentences = []
        for i in range(count):
            file = self.test_set.file(i)
            if file in candidates:
                texts, embedded = candidates[file]
                self.sentences.append([texts[int((embedded @ self.images[i]).argmax())]])
            else:
                self.sentences.append(self.test_set.captions(i))
        self.plain = torch.cat([F.normalize(self._texts(s).mean(0, keepdim=True), dim=1) for s in self.sentences])
        self.right = torch.cat([pipe.encode_prompt([s]) for s in self.sentences])
        self.empty = self._conditions_of([""])
        # Every picture has another's sentence, where possible one that says something else.
        order = list(range(count))
        random.Random(0).shuffle(order)
        self.shuffled = [order[(order.index(i) + 1) % count] for i in range(count)]
        for i in range(count):
            others = (order[(order.index(i) + k) % count] for k in range(1, count))
            self.shuffled[i] = next((j for j in others if self.sentences[j] != self.sentences[i]), self.shuffled[i])
        self.contrasts = {c.name: self._contrast(c) for c in self.protocol.contrasts}

    def _texts(self, sentences) -> Tensor:
        return embed_texts(self.pipe.clip, self.pipe.tokenizer, list(sentences)).cpu()

    def _conditions_of(self, sentences) -> Tensor:
        """As `encode_prompt`, which takes no empty sentence."""
        texts, recentering = self._texts(sentences), self.pipe.recentering
        return texts if recentering is None else recentering(texts.to(recentering.device)).float().cpu()

    @torch.no_grad()
    def _embed(self, picture: np.ndarray) -> Tensor:
        image = to_tensor(np.ascontiguousarray(picture), self.pipe.clip.device)
        return embed_images(self.pipe.clip, self.pipe.image_processor, image).cpu()

    def _contrast(self, contrast: Contrast) -> dict[str, Tensor]:
        plain = self._texts(contrast.prompts)
        return {"axis": plain[0] - plain[1], "text": self.pipe.encode_prompt(list(contrast.prompts)).cpu()}

    def _neighbors(self, axis: Tensor, index: int) -> Tensor:
        """Mean embeddings of the other pictures that lie furthest towards either sentence: `[2, D]`."""
        scores = self.images @ axis
        scores[index] = 0.0
        ends = []
        for sign in (1, -1):
            best = [j for j in (sign * scores).argsort(descending=True).tolist() if j != index]
            few = max(1, min(NEIGHBORS, len(self.images) // 4))
            ends.append(F.normalize(self.images[best[:few]].mean(0), dim=0))
        return torch.stack(ends)

    def tables(self) -> list[str]:
        """Names of the quality tables."""
        protocol = self.protocol
        if protocol.task == "super-resolution":
            return [f"{factor}x" for factor in protocol.factors]
        if protocol.task == "colorization":
            return ["colors"]
        low, high = (100 * share for share in protocol.hole_shares)
        return [f"irregular holes of {low:.0f}-{high:.0f} %"] + ["boxes"] * protocol.boxes

    def damage(self, index: int, table: str) -> np.ndarray | float | None:
        """The hole, or the factor, of a picture in a table."""
        if self.protocol.task == "super-resolution":
            return int(table[:-1])
        if self.protocol.task == "colorization":
            return None
        if table == "boxes":
            size = self.test_set.size
            return masks.box_mask(size, size, random.Random(index), (0.3, 0.6))[0].numpy() > 0.5
        return self.masks[index % len(self.masks)]

    def _restore(self, picture: np.ndarray, condition: Tensor, damage, strength: float | None = None) -> np.ndarray:
        """What the checkpoint makes of a picture under a condition `[1, D]`."""
        options = {"prompt_embeds": condition, "strength": strength}
        if self.protocol.task == "inpainting":
            options["mask_image"] = Image.fromarray(damage)
        if self.protocol.task == "super-resolution":
            picture = self._small(picture, damage)
            options["scale"] = damage
        return np.asarray(self.pipe(image=Image.fromarray(picture), **options).images[0])

    @staticmethod
    def _small(picture: np.ndarray, factor: float) -> np.ndarray:
        return to_array(resample.downsample(to_tensor(picture), factor))

    def restored(self, index: int, table: str) -> dict[str, np.ndarray]:
        """What every method of a table makes of a picture."""
        picture, damage = self.test_set.picture(index), self.damage(index, table)
        if self.protocol.task == "inpainting":
            outputs = {name: fill(picture, damage) for name, fill in baselines.INPAINTING.items()}
            outputs |= {name: fill(picture, damage, index) for name, fill in self.fillers.items()}
        elif self.protocol.task == "super-resolution":
            small, size = self._small(picture, damage), picture.shape[:2]
            outputs = {name: enlarge(small, size) for name, enlarge in baselines.SUPER_RESOLUTION.items()}
        else:
            outputs = {"gray": baselines.with_chroma(picture, torch.zeros(2))}
            outputs["mean a and b of the training set"] = baselines.with_chroma(picture, self.mean_chroma)
        conditions = (self.right[index], self.right[self.shuffled[index]], self.empty[0], self.images[index])
        for name, condition in zip(OURS, conditions, strict=True):
            outputs[name] = self._restore(picture, condition[None], damage)
        return outputs

    def measure(self, index: int) -> tuple[list[Value], dict[str, np.ndarray]]:
        """All values of a picture, and the embeddings of what was restored, under "table|method"."""
        values, embeddings = [], {}
        for table in self.tables():
            target, damage = self.test_set.picture(index), self.damage(index, table)
            hole = damage if isinstance(damage, np.ndarray) else None
            if hole is not None:
                values.append((table, "", "share", float(hole.mean())))
            embeddings[f"{table}|target"] = self.images[index].numpy()
            for name, output in self.restored(index, table).items():
                embedding = self._embed(output)
                embeddings[f"{table}|{name}"] = embedding[0].numpy()
                columns = self._quality(output, target, hole)
                columns["CLIP score"] = 100 * max((embedding[0] @ self.plain[index]).item(), 0)
                values += [(table, name, column, value) for column, value in columns.items()]
            if self.protocol.task == "colorization":
                values.append((table, "originals", "colorfulness", functional.colorfulness(target)))
        return values + self._effects(index) + self._colors(index), embeddings

    def _quality(self, output: np.ndarray, target: np.ndarray, hole: np.ndarray | None) -> dict[str, float]:
        pair = to_tensor(output), to_tensor(target)
        columns = {
            "PSNR (dB)": functional.psnr(output, target),
            "SSIM": functional.ssim(output, target),
            "LPIPS": self.lpips(*pair).item(),
        }
        if hole is not None:
            columns |= {
                "hole PSNR (dB)": functional.psnr(output, target, hole),
                "hole SSIM": functional.ssim(output, target, hole),
                "hole LPIPS": self.lpips(*pair, torch.from_numpy(hole)[None, None]).item(),
            }
        if self.protocol.task == "colorization":
            columns["colorfulness"] = functional.colorfulness(output)
        return columns

    def _region(self, contrast: Contrast) -> np.ndarray | float | None:
        """What is damaged to see a contrast."""
        if self.protocol.task != "inpainting":
            return self.protocol.effect_factor if self.protocol.task == "super-resolution" else None
        size = self.test_set.size
        left, top, right, bottom = (round(v * size) for v in contrast.hole)
        hole = np.zeros((size, size), bool)
        hole[top:bottom, left:right] = True
        return hole

    def _score(self, output: np.ndarray, damage, axis: Tensor) -> float:
        """How far the restored region lies towards the first sentence of a contrast."""
        seen = functional.hole_crop(output, damage) if isinstance(damage, np.ndarray) else output
        return (self._embed(seen)[0] @ axis).item()

    def _effects(self, index: int) -> list[Value]:
        """Do both sentences of a contrast bring the picture to their side?"""
        values, picture = [], self.test_set.picture(index)
        for contrast in self.protocol.contrasts:
            made, damage = self.contrasts[contrast.name], self._region(contrast)
            conditions = {"text": made["text"], "pictures": self._neighbors(made["axis"], index)}
            for source, pair in conditions.items():
                first, second = (
                    self._score(self._restore(picture, c[None], damage), damage, made["axis"]) for c in pair
                )
                row = f"{contrast.name}, {source}"
                own = 50.0 * ((first > 0) + (second < 0))
                values.append(("text effect", row, "nearer to its sentence than to the contrary (%)", own))
                nearer = 100.0 * (first > second)
                values.append(("text effect", row, "nearer than the contrary's picture (%)", nearer))
                values.append(("text effect", row, "shift (100 cosine)", 100 * (first - second)))
        return values

    def _colors(self, index: int) -> list[Value]:
        """Where a color word goes: hue of the middle, and the shift there and on the outer strip."""
        file = self.test_set.file(index)
        if file not in self.protocol.colors:
            return []
        template, picture = self.protocol.colors[file], self.test_set.picture(index)
        table = f"color words, {file.split('_')[0]}"
        conditions = self.pipe.encode_prompt([template.replace("{} ", ""), *(template.format(w) for w in PROTOTYPES)])
        chroma = [color.chroma(to_tensor(self._restore(picture, c[None].cpu(), None)))[0].numpy() for c in conditions]
        side, values = picture.shape[0], []
        quarter, strip = side // 4, max(side // 10, 1)
        border = np.ones((side, side), bool)
        border[strip:-strip, strip:-strip] = False
        for word, made in zip(PROTOTYPES, chroma[1:], strict=True):
            flat = torch.tensor(PROTOTYPES[word], dtype=torch.float32)[None, :, None, None] / 255
            wanted = color.chroma(flat)[0, :, 0, 0].numpy()
            middle = made[:, quarter:-quarter, quarter:-quarter].mean((1, 2))
            turned = np.angle(complex(*middle) / complex(*wanted), deg=True)
            shift = np.tensordot(wanted / np.linalg.norm(wanted), made - chroma[0], 1)
            values.append((table, word, "hue distance (°)", float(abs(turned))))
            values.append((table, word, "shift of the middle", float(shift[quarter:-quarter, quarter:-quarter].mean())))
            values.append((table, word, "shift of the border", float(shift[border].mean())))
        return values

    def curves(self, index: int) -> list[Value]:
        """The shift and the distance to the original against beta, s and, for super-resolution, the factor."""
        values, picture = [], self.test_set.picture(index)
        for contrast in self.protocol.contrasts[:2]:
            damage, text = self._region(contrast), self.contrasts[contrast.name]["text"]
            for beta in BETAS:
                mixed = F.normalize(beta * text + (1 - beta) * self.images[index], dim=1)
                values += self._point("beta", f"{beta:g}", contrast, picture, mixed, damage, None)
            for strength in STRENGTHS:
                values += self._point("strength", f"{strength:g}", contrast, picture, text, damage, strength)
            if self.protocol.task == "super-resolution":
                for factor in FACTORS:
                    values += self._point("factor", str(factor), contrast, picture, text, factor, None)
        return values

    def _point(self, table, row, contrast: Contrast, picture, pair: Tensor, damage, strength) -> list[Value]:
        made = [self._restore(picture, c[None], damage, strength) for c in pair]
        first, second = (self._score(m, damage, self.contrasts[contrast.name]["axis"]) for m in made)
        far = self.lpips(to_tensor(made[0]), to_tensor(picture)).item()
        values = [
            (table, row, f"shift, {contrast.name} (100 cosine)", 100 * (first - second)),
            (table, row, f"LPIPS to the original, {contrast.name}", far),
        ]
        if self.protocol.task == "super-resolution":
            small = self._small(picture, damage)
            kept = functional.psnr(self._small(made[0], damage), small)
            values.append((table, row, f"PSNR to the input, {contrast.name} (dB)", kept))
        return values

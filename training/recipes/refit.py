"""Lets a trained generator read another dual encoder: its style layer (Eq. 2) is refitted by least squares.

    python -m training.recipes.refit CHECKPOINT OUTPUT --encoder NEW --dataset FILES --domain-texts sentences.txt

The same images and sentences are embedded by both encoders. The affine map that leads best from the new embeddings to
the old ones joins the style layer, which is linear itself. Texts are compared as each encoder's recentering moves them.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.models.embedding import ENCODER
from training.data import decode_rows, training_and_held_out
from training.embeddings import FrozenEncoder, recenter
from training.presets import PRESETS

_RIDGE = 3e-3  # of the regression, as a share of the embeddings' mean variance
_IMAGES = 1000


def affine_map(new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix `[D', D]` and the shift `[D']` that lead best from embeddings `[N, D]` to others `[N, D']`."""
    first, second = (x.double() - x.double().mean(0) for x in (new, old))
    ridge = _RIDGE * first.square().sum() / first.shape[1] * torch.eye(first.shape[1], dtype=torch.double)
    matrix = torch.linalg.solve(first.T @ first + ridge, first.T @ second).T.float()
    return matrix, old.mean(0) - matrix @ new.mean(0)


@torch.no_grad()
def refit(generator: TextIRGenerator, new: Tensor, old: Tensor) -> None:
    """Changes the style layer so that it makes of new embeddings what it made of the old ones.

    Args:
        generator: Changed in place; both encoders' embeddings have its `embedding_dim`.
        new: `[N, D]`, embeddings of the encoder that it shall read.
        old: `[N, D]`, the same images' and sentences' embeddings of the encoder that it was trained with.
    """
    matrix, shift = affine_map(new, old)
    weight = generator.style.weight.clone()
    generator.style.weight.copy_(weight @ matrix)
    generator.style.bias.add_(weight @ shift)  # the layer's scales of input and weight cancel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder of the pipeline to refit, with its dual encoder")
    parser.add_argument("output", type=Path, help="folder of network and recentering")
    parser.add_argument("--encoder", default=ENCODER, help="the dual encoder to read")
    parser.add_argument("--dataset", nargs="+", required=True, help="as for training.train")
    parser.add_argument("--domain-texts", required=True, help="as for training.train")
    args = parser.parse_args()
    pipe = TextIRPipeline.from_pretrained(args.checkpoint)
    config = PRESETS[f"textir-mini-{pipe.restorer.config.task}"].replace(
        dataset=args.dataset, domain_texts=args.domain_texts
    )
    rows, _ = training_and_held_out(config)
    sample = rows.shuffle(seed=0).take(_IMAGES)
    images = torch.stack([image for _, image in decode_rows(list(sample), config)]).float() / 255
    sentences = Path(args.domain_texts).read_text().splitlines()
    encoder = FrozenEncoder(args.encoder, torch.device("cpu"))
    texts = [pipe.encode_prompt(sentences), recenter(encoder, sample, config, None)]
    trained = FrozenEncoder(args.encoder, torch.device("cpu"))
    trained.clip, trained.image_processor = pipe.clip, pipe.image_processor
    old, new = (
        torch.cat([torch.cat([e.images(part) for part in images.split(64)]), text])
        for e, text in zip((trained, encoder), texts, strict=True)
    )
    refit(pipe.restorer, new, old)
    with replacing(args.output) as temporary:
        pipe.restorer.save_pretrained(temporary / "restorer")
        encoder.recentering.save_pretrained(temporary / "recentering")
    print(f"Wrote {args.output}")


if __name__ == "__main__":
    main()

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoTokenizer

from textir_hf import TextRecentering
from textir_hf.models.embedding import CHECKPOINTS, clip_pixel_values, embed_images, embed_texts
from textir_hf.models.encoder import QueryAttention
from textir_hf.pipeline.pipeline import TextIRPipeline
from training.clip import save_encoder


@torch.no_grad()
def test_text_embedding_does_not_depend_on_its_neighbors(encoder):
    clip, tokenizer, _ = encoder
    alone = embed_texts(clip, tokenizer, ["a face"])
    together = embed_texts(clip, tokenizer, ["a face", "a smiling old person a face a face"])
    torch.testing.assert_close(together[:1], alone)


@torch.no_grad()
def test_long_text_is_cut_with_a_warning(encoder):
    clip, tokenizer, _ = encoder
    with pytest.warns(UserWarning, match="has 102 tokens, all after 12 are cut: red red"):
        long = embed_texts(clip, tokenizer, ["red " * 100])
    torch.testing.assert_close(long, embed_texts(clip, tokenizer, ["red " * 10]), rtol=0, atol=0)


def pairs(encoder, **options):
    """Two texts and two images as the model takes them."""
    _, tokenizer, image_processor = encoder
    tokens = tokenizer(["a red flower", "a face"], padding=True, return_tensors="pt")
    return dict(tokens) | {"pixel_values": clip_pixel_values(torch.rand(2, 3, 32, 32), image_processor)} | options


@torch.no_grad()
def test_similarities_are_scaled_cosines_and_outputs_those_of_clip(encoder, openai_encoder):
    clip = encoder[0]
    output = clip(**pairs(encoder))
    assert output.logits_per_image.shape == (2, 2)
    torch.testing.assert_close(output.logits_per_text, output.logits_per_image.T, rtol=0, atol=0)
    cosines = F.cosine_similarity(output.image_embeds[:, None], output.text_embeds[None], dim=2)
    torch.testing.assert_close(output.logits_per_image, cosines * clip.logit_scale.exp())
    ours, theirs = (parts[0](**pairs(parts, return_loss=True)) for parts in (encoder, openai_encoder))
    assert type(ours) is type(theirs) and ours.keys() == theirs.keys()
    assert ours.text_model_output.keys() == theirs.text_model_output.keys()
    assert isinstance(clip(**pairs(encoder), return_dict=False), tuple)


def test_attention_equals_pytorchs(encoder):
    ours, theirs = QueryAttention(16, 2, 0.1).eval(), nn.MultiheadAttention(16, 2, 0.1, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    queries, places = torch.randn(3, 4, 16), torch.randn(3, 9, 16)
    torch.testing.assert_close(ours(queries, places), theirs(queries, places, places)[0])


@torch.no_grad()
def test_a_tokenizer_is_saved_without_the_lengths_of_its_last_call(encoder, pipeline, tmp_path):
    clip, tokenizer, image_processor = encoder
    embed_texts(clip, tokenizer, ["a face", "a red flower"])
    save_encoder(deepcopy(clip), tokenizer, image_processor, tmp_path / "encoder")
    embed_texts(clip, tokenizer, ["a face", "a red flower"])
    pipeline("inpainting").save_pretrained(tmp_path)
    for folder in (tmp_path / "encoder", tmp_path / "tokenizer", CHECKPOINTS / "textir-mini-clip"):
        options = AutoTokenizer.from_pretrained(folder).init_kwargs  # a processor passes them on
        assert not {"max_length", "truncation_strategy", "pad_to_multiple_of"} & options.keys(), folder


def test_recentering_moves_the_text_mean_onto_the_image_mean():
    texts, images = (F.normalize(torch.randn(500, 32) * 0.1 + torch.randn(32), dim=1) for _ in range(2))
    module = TextRecentering(32, scale=1.0)
    module.text_mean.copy_(texts.mean(0))
    module.image_mean.copy_(images.mean(0))
    moved = module(texts)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(500))
    before, after = (F.cosine_similarity(t.mean(0), images.mean(0), dim=0) for t in (texts, moved))
    assert before < 0.5 and after > 0.99


@torch.no_grad()
def test_embedded_encoder_knows_colors_and_closes_its_gap():
    pipe = TextIRPipeline.from_pretrained("textir-mini-colorization")
    words = {"red": (200, 20, 20), "yellow": (230, 210, 30), "blue": (30, 40, 200), "green": (20, 150, 30)}
    patches = torch.stack([torch.tensor(c)[:, None, None].expand(3, 96, 96) / 255 for c in words.values()])
    images = embed_images(pipe.clip, pipe.image_processor, patches)
    texts = embed_texts(pipe.clip, pipe.tokenizer, [f"a {w} dress" for w in words])
    similarity = (images - images.mean(0)) @ (texts - texts.mean(0)).T
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3]
    kinds = ("flower", "rose", "dress", "shirt", "dog on the grass", "car in a street")
    texts = embed_texts(pipe.clip, pipe.tokenizer, [f"a {w} {kind}" for w in words for kind in kinds])
    gap, left = ((x.mean(0) - pipe.recentering.image_mean).norm() for x in (texts, pipe.recentering(texts)))
    assert left < gap - 0.05
    assert sum(p.stat().st_size for p in CHECKPOINTS.rglob("*") if p.is_file()) <= 100e6

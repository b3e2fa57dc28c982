import pytest
import torch
from conftest import picture
from torch.nn import functional as F

from textir_hf import MiniCLIPModel, TextRecentering
from textir_hf.imaging.raster import to_raster
from textir_hf.imaging.resample import to_tensor
from textir_hf.models.embedding import CHECKPOINTS, clip_pixel_values, embed_images, embed_texts
from textir_hf.models.towers import EfficientNetLite0
from textir_hf.pipeline.pipeline import TextIRPipeline


@pytest.mark.parametrize("name", ["encoder", "openai_encoder"])
@torch.no_grad()
def test_both_encoders_serve_the_same_calls(name, request):
    clip, tokenizer, image_processor = request.getfixturevalue(name)
    texts = embed_texts(clip, tokenizer, ["a red flower", "a smiling old face"])
    images = embed_images(clip, image_processor, torch.rand(3, 3, 40, 50))
    assert texts.shape == (2, clip.config.projection_dim) and images.shape == (3, clip.config.projection_dim)
    for embeddings in (texts, images):
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(embeddings)))


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


def test_pixel_values_equal_the_processors(encoder):
    _, _, image_processor = encoder
    image = picture(80, 64)
    expected = image_processor(image, return_tensors="pt")["pixel_values"]
    actual = clip_pixel_values(to_tensor(to_raster(image).rgb), image_processor)
    assert actual.shape == expected.shape == (1, 3, 32, 32)
    assert (actual - expected).abs().max() < 0.03  # the processor rounds to 8 bits in between


def test_image_embedding_is_differentiable(encoder):
    clip, _, image_processor = encoder
    images = torch.rand(1, 3, 48, 48, requires_grad=True)
    embed_images(clip, image_processor, images)[0, 0].backward()
    assert images.grad.abs().sum() > 0


def test_wrong_image_size_is_refused(encoder):
    with pytest.raises(ValueError, match=r"pixel_values must be \[N, 3, 32, 32\]"):
        encoder[0].get_image_features(torch.rand(1, 3, 64, 64))


def test_position_matters_to_the_image_tower(encoder):
    clip, _, image_processor = encoder
    image = to_tensor(to_raster(picture()).rgb)
    difference = embed_images(clip, image_processor, image) - embed_images(clip, image_processor, image.flip(-1))
    assert difference.abs().max() > 1e-5


def test_backbone_halves_the_size_five_times():
    features = EfficientNetLite0()(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features] == [
        (16, 32, 48),
        (24, 16, 24),
        (40, 8, 12),
        (80, 4, 6),
        (112, 4, 6),
        (192, 2, 3),
        (320, 2, 3),
        (1280, 2, 3),
    ]


def test_similarities_are_scaled_cosines(encoder):
    clip, tokenizer, image_processor = encoder
    tokens = tokenizer(["a red flower", "a face"], padding=True, return_tensors="pt")
    pixel_values = clip_pixel_values(torch.rand(3, 3, 32, 32), image_processor)
    logits = clip(tokens["input_ids"], pixel_values, tokens["attention_mask"]).logits_per_image
    assert logits.shape == (3, 2)
    assert logits.abs().max() <= clip.logit_scale.exp() + 1e-4


def test_encoder_is_saved_and_loaded(encoder, tmp_path):
    clip, _, image_processor = encoder
    clip.save_pretrained(tmp_path)
    loaded = MiniCLIPModel.from_pretrained(tmp_path).eval()
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(
        embed_images(loaded, image_processor, images), embed_images(clip, image_processor, images)
    )


def test_recentering_moves_the_text_mean_onto_the_image_mean(tmp_path):
    texts, images = (F.normalize(torch.randn(500, 32) * 0.1 + torch.randn(32), dim=1) for _ in range(2))
    module = TextRecentering(32, scale=1.0)
    module.text_mean.copy_(texts.mean(0))
    module.image_mean.copy_(images.mean(0))
    moved = module(texts)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(500))
    before, after = (F.cosine_similarity(t.mean(0), images.mean(0), dim=0) for t in (texts, moved))
    assert before < 0.5 and after > 0.99
    module.save_pretrained(tmp_path)
    torch.testing.assert_close(TextRecentering.from_pretrained(tmp_path)(texts), moved)


@torch.no_grad()
def test_embedded_encoder_knows_colors_and_closes_its_gap():
    pipe = TextIRPipeline.from_pretrained("textir-mini-colorization")
    words = {"red": (200, 20, 20), "yellow": (230, 210, 30), "blue": (30, 40, 200), "green": (20, 150, 30)}
    patches = torch.stack([torch.tensor(c)[:, None, None].expand(3, 96, 96) / 255 for c in words.values()])
    images = embed_images(pipe.clip, pipe.image_processor, patches)
    texts = embed_texts(pipe.clip, pipe.tokenizer, [f"a {w} dress" for w in words])
    similarity = (images - images.mean(0)) @ (texts - texts.mean(0)).T
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3]
    assert (pipe.recentering(texts) - images.mean(0)).norm() < (texts - images.mean(0)).norm()
    assert sum(p.stat().st_size for p in CHECKPOINTS.rglob("*") if p.is_file()) <= 90e6

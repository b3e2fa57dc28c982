import sys

import pytest
import torch

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from training.loop import train
from training.recipes import export as exporting
from training.recipes import grow as growing
from training.recipes import refit as refitting
from training.recipes import widen as widening
from training.recipes.export import export
from training.recipes.grow import grow
from training.recipes.refit import refit
from training.recipes.widen import widen


def test_an_exported_run_is_a_checkpoint_without_the_shared_encoder(config, encoder, tmp_path, monkeypatch):
    folder, checkpoint = train(config(max_train_steps=1)), tmp_path / "exported" / "checkpoint"
    for options in ([], ["--output-scale", "2"]):  # the second replaces the first
        monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "run"), str(checkpoint), *options])
        exporting.main()
    assert [p.name for p in (tmp_path / "exported").iterdir()] == ["checkpoint"]
    assert sorted(p.name for p in checkpoint.iterdir()) == ["model_index.json", "recentering", "restorer"]
    assert not [p for p in checkpoint.rglob("*.json") if str(tmp_path) in p.read_text()]
    parts = dict(zip(("clip", "tokenizer", "image_processor"), encoder, strict=True))
    pipe = TextIRPipeline.from_pretrained(checkpoint, **parts)
    trained = TextIRGenerator.from_pretrained(folder / "restorer")
    assert (trained.config.output_scale, pipe.restorer.config.output_scale) == (1.0, 2.0)
    torch.testing.assert_close(pipe.restorer.style.weight, trained.style.weight, atol=1e-2, rtol=1e-3)
    assert TextRecentering.from_pretrained(folder / "recentering").config.embedding_dim == 32


def test_several_runs_are_exported_as_the_mean_of_their_weights(config, tmp_path):
    runs, checkpoint = [tmp_path / name for name in ("one", "two", "wider")], tmp_path / "checkpoint"
    for i, run in enumerate(runs):
        width = {"channels": [16, 16, 16]} if run.name == "wider" else {}
        train(config(max_train_steps=1, output_dir=str(run), seed=i, **width))
    export(runs[:2], checkpoint)
    one, two, mean = (
        TextIRGenerator.from_pretrained(folder / "restorer").state_dict()
        for folder in (runs[0] / "pipeline", runs[1] / "pipeline", checkpoint)
    )
    assert not torch.equal(one["style.weight"], two["style.weight"])
    for name, value in mean.items():
        torch.testing.assert_close(value.float(), (one[name] + two[name]) / 2, atol=1e-2, rtol=1e-3)
    before = {p: p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"wider.* differs from .*one.* in channels: only"):
        export([runs[0], runs[2]], checkpoint)
    assert before == {p: p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()}


def test_a_grown_network_starts_as_the_smaller_one_at_half_its_size(tmp_path, monkeypatch):
    small = TextIRGenerator(sample_size=16, channels=(8, 12), in_channels=4, embedding_dim=8, style_dim=8)
    small.save_pretrained(tmp_path / "small")
    words = ["grow", str(tmp_path / "small"), str(tmp_path / "large"), "--width", "6"]
    monkeypatch.setattr(sys, "argv", words)
    growing.main()
    large = TextIRGenerator.from_pretrained(tmp_path / "large")
    assert tuple(large.config.channels) == (6, 8, 12) and large.config.sample_size == 32
    assert not torch.equal(grow(small, 6).skips[0].weight, large.skips[0].weight)  # the new level's own
    features = [torch.randn(1, 6, 32, 32), torch.randn(1, 8, 16, 16), torch.randn(1, 12, 8, 8)]
    torch.testing.assert_close(large.encoder.down[1](features[1]), small.encoder.down[0](features[1]))
    embedding = torch.nn.functional.normalize(torch.randn(1, 8), dim=1)
    strength = torch.tensor([[0.3]])
    for inner, outer in zip(small.fusion(strength), large.fusion(strength)[1:], strict=True):
        torch.testing.assert_close(outer, inner)
    images = {}
    for name, network, seen in (("small", small, features[1:]), ("large", large, features)):
        network.encoder.forward = lambda _, seen=seen: (seen, seen[-1])
        network.levels[0].register_forward_hook(lambda *a, name=name: images.__setitem__(name, a[2][1]))
        side = network.config.sample_size
        network(torch.rand(1, 4, side, side), embedding, 0.3)
    torch.testing.assert_close(images["large"], images["small"])


@pytest.mark.parametrize("source", ["encoder", "input", "embedding"])
@pytest.mark.parametrize("channels", [(10, 13, 15), (6, 12, 9), (6, 8, 9)])
def test_a_wider_network_starts_as_the_narrow_one(source, channels):
    values = {"sample_size": 16, "embedding_dim": 8, "style_dim": 8, "strength_source": source}
    narrow = TextIRGenerator(channels=(6, 8, 9), in_channels=1, out_channels=2, **values)
    for value in narrow.state_dict().values():
        value.add_(0.1 * torch.randn(value.shape))
    wider = widen(narrow, channels)
    assert tuple(wider.config.channels) == channels
    strength = None if source == "embedding" else 0.3
    draw = torch.Generator().manual_seed(0)
    degraded, embedding = torch.rand(2, 1, 16, 16, generator=draw), torch.randn(2, 8, generator=draw)
    embedding = torch.nn.functional.normalize(embedding, dim=1)
    noise = narrow.draw_noise(degraded, draw)
    before, after = (n(degraded, embedding, strength, noise=noise).sample for n in (narrow, wider))
    torch.testing.assert_close(after, before)
    if channels[-2:] != (8, 9):  # what is new learns
        after.square().sum().backward()
        assert wider.skips[1].weight.grad[:8, 8:].any()


def test_the_widen_command_writes_a_network_and_refuses_a_narrower_one(tmp_path, monkeypatch):
    TextIRGenerator(sample_size=16, channels=(6, 8), embedding_dim=8, style_dim=8).save_pretrained(tmp_path / "narrow")
    words = ["widen", str(tmp_path / "narrow"), str(tmp_path / "wide"), "--channels"]
    monkeypatch.setattr(sys, "argv", [*words, "6", "16"])
    widening.main()
    assert tuple(TextIRGenerator.from_pretrained(tmp_path / "wide").config.channels) == (6, 16)
    for widths in ("8", "6"), ("6", "8", "8"):
        monkeypatch.setattr(sys, "argv", [*words, *widths])
        with pytest.raises(ValueError, match=r"must be 2 widths of at least \(6, 8\), got"):
            widening.main()


def test_a_refitted_network_reads_another_encoder():
    """Embeddings that are an affine image of the old ones lose nothing but the ridge's share."""
    draw = torch.Generator().manual_seed(0)
    network = TextIRGenerator(channels=(8, 8), embedding_dim=8, style_dim=8, sample_size=16)
    old = torch.nn.functional.normalize(torch.randn(200, 8, generator=draw), dim=1)
    new = old @ torch.linalg.qr(torch.randn(8, 8, generator=draw)).Q + 0.3
    degraded = torch.rand(1, 4, 16, 16, generator=draw).expand(200, -1, -1, -1)
    with torch.no_grad():
        before = network(degraded, old).sample
        refit(network, new, old)
        after = network(degraded, new).sample
    assert (after - before).abs().mean() < 0.02 * before.std(0).mean()


def test_the_refit_command_writes_network_and_recentering(config, data, clip_folder, tmp_path, monkeypatch):
    folder, texts = train(config(max_train_steps=1)), tmp_path / "sentences.txt"
    texts.write_text("a red flower\na face\na blue flower\n")
    command = ["refit", str(folder), str(tmp_path / "refitted"), "--encoder", clip_folder, "--dataset", str(data)]
    monkeypatch.setattr(sys, "argv", [*command, "--domain-texts", str(texts)])
    refitting.main()
    assert sorted(p.name for p in (tmp_path / "refitted").iterdir()) == ["recentering", "restorer"]
    before, after = (
        TextIRGenerator.from_pretrained(f / "restorer").state_dict() for f in (folder, tmp_path / "refitted")
    )
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"style.weight", "style.bias"}

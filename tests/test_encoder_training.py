"""The dual encoder's words, data, losses, trainer and measurements."""

import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import encoded, make_image
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature

from textir_hf.evaluation.tables import read_tables
from textir_hf.models.embedding import embed_texts, load_encoder
from training import clip, evaluate_clip
from training import clip_words as words
from training.clip import EncoderConfig, Trainer, main, sentence_features
from training.clip_data import CaptionSource, ImageSet, LabeledSource, choice_loss, contrastive_loss

CELEBA_COLUMNS = [column for column, *_ in words.WORDS["lfw"].values()]


def write(path, rows: dict[str, list], **columns) -> None:
    features = Features({"image": ImageFeature(), "split": Value("string")} | columns)
    Dataset.from_dict(rows, features=features).to_parquet(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The parquet files of all domains, sixteen images each."""
    folder = tmp_path_factory.mktemp("images")
    rows = {"image": [encoded(make_image(20, 20, seed=i)) for i in range(16)], "split": ["train"] * 12 + ["test"] * 4}
    texts = [["a red flower", "a face"] if i % 2 else ["a blue flower", "a person"] for i in range(16)]
    write(folder / "flickr8k_176.parquet", rows | {"text": texts}, text=List(Value("string")))
    attributes = {c: [bool((i >> (b % 2)) % 2) for i in range(16)] for b, c in enumerate(CELEBA_COLUMNS)}
    write(folder / "faces_celeba_89.parquet", rows | attributes, **{c: Value("bool") for c in attributes})
    scores = {c: np.random.default_rng(b).permutation(48) / 47 for b, c in enumerate(CELEBA_COLUMNS)}
    scores |= {"image": rows["image"] * 3, "split": ["test"] * 48}
    write(folder / "faces_lfw_112.parquet", scores, **{c: Value("float64") for c in CELEBA_COLUMNS})
    people = {"age": [20 + 3 * i for i in range(16)], "male": [i % 2 == 0 for i in range(16)], "group": ["asian"] * 16}
    columns = {"age": Value("int64"), "male": Value("bool"), "group": Value("string")}
    write(folder / "faces_utk_144.parquet", rows | people, **columns)
    for name, kind in (("flowers_176", "roses"), ("clothing_176", "dress")):
        write(folder / f"{name}.parquet", rows | {"label": [kind] * 16}, label=Value("string"))
    return folder


def files(folder, *names: str) -> list[str]:
    return [str(folder / f"{name}.parquet") for name in names]


def test_the_sentences_of_a_pair_differ_in_its_attribute_alone():
    for pair in words.face_pairs(20):
        first, second = pair.facts
        assert first[pair.attribute] == 1 and second.get(pair.attribute, -1) == -1 and len(set(pair.texts)) == 2
        own = {pair.attribute, *words.RIVALS.get(pair.attribute, ())}
        assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
    for pair in words.object_pairs(20):
        first, second = pair.facts
        assert len(set(pair.texts)) == 2 and len(set(first.items()) - set(second.items())) == 1


def test_files_of_faces_share_their_labels_columns_and_hold_out_training_rows(folder):
    images = ImageSet(files(folder, "faces_celeba_89", "faces_utk_144"), 0.3)
    alone = ImageSet(files(folder, "faces_celeba_89"), 0.3)
    assert 0 < len(alone.held_out) < 12 and images.held_out[images.held_out < 16].tolist() == alone.held_out.tolist()
    rows = np.concatenate([alone.train, alone.held_out, alone.test])
    assert sorted(rows.tolist()) == list(range(16)) and alone.test.tolist() == [12, 13, 14, 15]
    male, young, asian, beard, hat = (words.FACE_NAMES.index(n) for n in ("male", "young", "asian", "beard", "hat"))
    celeba, utk = images.face_labels()[:16], images.face_labels()[16:]
    assert celeba[:3, male].tolist() == [-1, 1, -1] and utk[:3, male].tolist() == [1, -1, 1]
    assert utk[[0, 7, 15], young].tolist() == [1, 0, -1]  # 20, 41 and 65 years
    assert (utk[:, asian] == 1).all() and (celeba[:, asian] == 0).all()
    assert (utk[:, hat] == 0).all() and celeba[0, beard] == 1  # no_beard is False


def test_contrastive_loss_spreads_its_target_and_leaves_out_what_is_not_known():
    logits = 20 * torch.eye(3)
    fits = 2 * torch.eye(3) - 1
    assert contrastive_loss(logits, fits) < 1e-6 and contrastive_loss(logits.roll(1, 0), fits) > 10
    both = torch.tensor([[1.0, 1.0, -1.0]])
    assert contrastive_loss(torch.tensor([[20.0, 20.0, 0.0]]), both) == pytest.approx(np.log(2), abs=1e-4)
    unknown = torch.tensor([[1.0, 0.0, -1.0]])
    assert contrastive_loss(torch.tensor([[20.0, 90.0, 0.0]]), unknown) < 1e-6


def test_both_answers_of_a_choice_weigh_the_same():
    logits = torch.zeros(10, 1, requires_grad=True)
    loss = choice_loss(logits, torch.tensor([1] * 9 + [-1])[:, None])
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2)) and logits.grad.sum().item() == pytest.approx(0, abs=1e-7)
    mixed = torch.tensor([[1, 1], [-1, 1]])  # the second pair has one answer only
    logits = torch.tensor([[0.0, 50.0], [0.0, 50.0]])
    assert choice_loss(logits, mixed).item() == pytest.approx(np.log(2) * 0.8)


@torch.no_grad()
def test_sentences_by_number_embed_like_sentences(encoder):
    model, tokenizer, _ = encoder
    sentences = ["a smiling old person", "a face", "a red flower"]
    features = sentence_features(model.text_tower, tokenizer, sentences)
    embedded = torch.nn.functional.normalize(model.text_tower.pool(features.float()), dim=-1)
    torch.testing.assert_close(embedded, embed_texts(model, tokenizer, sentences), atol=5e-3, rtol=0)  # bf16


def sources(folder) -> dict:
    """Tiny sources of both kinds."""
    scenes = ImageSet(files(folder, "flickr8k_176"), 0.2)
    people = ImageSet(files(folder, "faces_celeba_89", "faces_utk_144"), 0.2)
    labeled = LabeledSource(people, people.face_labels(), words.face_pairs(2), words.FACE_NAMES)
    return {"captions": CaptionSource(scenes, scenes.column("text"), negatives=4), "faces": labeled}


def test_draws_are_true_of_their_images_on_both_sides(folder):
    source = sources(folder)["faces"]
    rows, pairs = source.draw(200, np.random.default_rng(0))
    answers = source.answer[rows, pairs]
    assert (answers != 0).all() and set(rows.tolist()) <= set(source.images.train.tolist())
    assert 60 < (answers == 1).sum() < 140


def test_captions_are_told_from_those_of_other_images(folder):
    source, axes = sources(folder)["captions"], torch.eye(16)  # every image and its two captions have an axis
    rows = source.images.train[:3]
    draw, scale = (rows, np.zeros(0, int)), torch.tensor(40.0)
    loss = source.loss(draw, axes[rows], lambda n: axes[n // 2], scale, np.random.default_rng(0))
    assert loss.item() == pytest.approx(np.log(2) / 2, abs=1e-5)  # an image cannot tell its two captions apart


def test_a_run_learns_and_goes_on_as_if_it_had_not_stopped(folder, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "SHARES", {"captions": (2, 1.0), "faces": (2, 1.0)})
    both = sources(folder)

    def trainer(name: str) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        config = EncoderConfig(output_dir=str(tmp_path / name), steps=4)
        return Trainer(deepcopy(encoder[0]), *encoder[1:], both, config)

    full, first = trainer("full"), trainer("parts")
    backbone = full.clip.image_tower.backbone
    frozen, late = (backbone.stages[n][0].project.weight.clone() for n in (0, 4))
    losses = [full.train_step() for _ in range(2)]
    first.train_step()
    first.save()
    second = trainer("parts")
    assert second.step == 1 and second.train_step() == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(full.average.shadow_params, second.average.shadow_params, strict=True))
    assert torch.equal(backbone.stages[0][0].project.weight, frozen)
    assert not torch.equal(backbone.stages[4][0].project.weight, late)


def test_a_command_writes_an_encoder_that_is_measured(folder, clip_folder, tmp_path, monkeypatch, capsys):
    shares = dict.fromkeys(clip.SHARES, (2, 1.0))
    monkeypatch.setattr(clip, "SHARES", shares)
    monkeypatch.setattr(clip, "PAIRS", {"faces": 1, "objects": 1})
    command = ["--captions", *files(folder, "flickr8k_176"), "--faces", *files(folder, "faces_celeba_89")]
    command += ["--objects", *files(folder, "flowers_176", "clothing_176"), "--init-from", clip_folder]
    command += ["--output-dir", str(tmp_path / "run"), "--held-out", "0.2", "--steps", "2"]
    assert main(command) == 0
    assert re.search(r"step 2, held-out captions: R@1 \d", capsys.readouterr().out)
    before = (tmp_path / "run" / "encoder" / "model.safetensors").read_bytes()
    assert main(command) == 0 and "step" not in capsys.readouterr().out  # it was finished
    assert (tmp_path / "run" / "encoder" / "model.safetensors").read_bytes() == before
    load_encoder(tmp_path / "run" / "encoder")

    report = tmp_path / "report.json"
    arguments = ["evaluate_clip", "--data", folder, "--checkpoint", tmp_path / "run" / "encoder", "--output", report]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in arguments])
    evaluate_clip.main()
    titles, printed = [table.title.split(",")[0] for table in read_tables(report)], capsys.readouterr().out
    assert len(titles) == 6 and all(title in printed for title in titles)


def test_attributes_that_the_embedding_holds_have_a_full_area():
    names = list(words.WORDS["lfw"])
    affirmed = {prompts[0]: names.index(name) for name, prompts in words.WORDS["prompts"].items()}

    def embed(*texts: str) -> torch.Tensor:  # the axis of the attribute that a sentence affirms
        axes = torch.cat([torch.eye(len(names)), torch.zeros(1, len(names))])
        return axes[[affirmed.get(text, -1) for text in texts]]

    labels = np.random.default_rng(0).choice([-1, 0, 1], (200, len(names)))
    everybody, by_group = evaluate_clip.attributes(torch.from_numpy(labels).float(), labels, embed)
    assert everybody.rows["smiling"][0].mean == by_group.rows["smiling"][0].mean == 1.0
    assert by_group.rows["male"][0].mean is None  # all women are
    blind = evaluate_clip.attributes(torch.zeros(labels.shape), labels, embed)[0].rows
    assert blind["mean of all"][0].mean == 0.5


def test_retrieval_counts_the_captions_whose_image_comes_first():
    images, texts = torch.eye(4), [["0"], ["1"], ["2"], ["0 again"]]
    table = evaluate_clip.retrieval(images, texts, lambda *several: images[[int(text[0]) for text in several]])
    assert table.rows["text to image R@1"][0].mean == 75.0 and table.rows["text to image R@5"][0].mean == 100.0


def test_choices_weigh_both_sides_the_same():
    labels, images = np.full((10, len(words.FACE_NAMES)), -1), torch.zeros(10, 2)
    labels[:2, words.FACE_NAMES.index("eyeglasses")] = 1
    images[1, 0] = images[[0, *range(2, 10)], 1] = 1  # one of two with glasses is missed

    def embed(*several: str) -> torch.Tensor:
        return torch.tensor([["wearing glasses" in text, "without glasses" in text] for text in several]).float()

    rows = evaluate_clip.choices(images, labels, embed).rows
    assert [cell.mean for cell in rows["eyeglasses"]] == [75.0, 50.0, 100.0]
    assert rows["hat"][0].mean is None and rows["mean of all"][0].mean is not None  # no face has one

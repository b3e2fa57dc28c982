import re
from string import Template

import pytest
from conftest import make_image, make_mask
from huggingface_hub import ModelCard

from model_cards import make
from model_cards.make import HERE, NAMES, TASK_OF, make_card, tables_of
from textir_hf.evaluation.conditions import OURS
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.tables import Cell, Table
from textir_hf.hub.publish import check_folder
from textir_hf.models.embedding import CHECKPOINTS
from textir_hf.tasks import TASKS, embedded_checkpoints


def test_every_embedded_checkpoint_has_a_card():
    assert set(TASK_OF) == set(embedded_checkpoints())
    assert {path.stem for path in (HERE / "templates").glob("textir-mini-*.md")} == set(NAMES)


@pytest.mark.parametrize("name", embedded_checkpoints())
def test_embedded_checkpoints_are_published_with_their_samples_and_reports(name):
    files = check_folder(CHECKPOINTS / name)
    assert set(files) >= {"README.md", "model_index.json"}
    links = {link for pair in re.findall(r"\]\((\S+?)\)|url: (\S+)", make_card(name)) for link in pair if link}
    assert {f"samples/{name}.jpg", f"results/{name}.json"} <= links <= set(files)


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_complete_and_their_metadata_is_valid(name):
    text = make_card(name)
    card = ModelCard(text)
    assert card.data.license_name == "research-use-only" and card.data.model_name == name
    assert card.data.license_link == "LICENSE" and (CHECKPOINTS / name / "LICENSE").is_file()
    for heading in ("What it does", "How to use it", "Training", "Results", "Limits, bias and misuse", "Citation"):
        assert f"## {heading}" in text
    assert not Template(text).get_identifiers() and "None" not in text
    means = {
        round(c.mean, t.digits) for t in tables_of(name) for cs in t.rows.values() for c in cs if c.mean is not None
    }
    assert card.data.eval_results and {result.metric_value for result in card.data.eval_results} <= means


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_a_card_runs(name, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", make_card(name), re.DOTALL).group(1)
    make_image(40, 40).save(tmp_path / "image.png")
    make_mask(40, 40).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    if name in TASK_OF:
        assert names["restored"].width == 40 * (8 if "scale=8" in code else 1)
    else:
        assert names["embeddings"].shape == (2, 512)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_misses_a_measurement_by_group_only_where_there_is_none(name):
    measured = any("by group" in table.title for table in tables_of(name))
    assert ("No measurement by group" in make_card(name)) != measured


def test_a_changed_page_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    with pytest.raises(SystemExit, match=r"page.md .* make cards"):
        make.write({page: "a"}, True, "make cards")
    make.write({page: "a"}, False, "make cards")
    make.write({page: "a"}, True, "make cards")
    with pytest.raises(SystemExit, match=r"page.md"):
        make.write({page: "b"}, True, "make cards")


def test_text_between_markers_is_replaced():
    page = "before\n<!-- a: by x -->\nold\n<!-- /a -->\nafter"
    assert make.replace_marked(page, "a", "new") == page.replace("old", "new")


def test_the_readme_table_has_ours_the_best_baseline_and_the_paper_for_each_task():
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in make.readme_table().splitlines()[2:]]
    assert [line[0] for line in lines] == [name for name in TASKS for _ in range(3)]
    for (name, task), ours, baseline, paper in zip(TASK_OF.items(), lines[::3], lines[1::3], lines[2::3], strict=True):
        (table,) = [t for t in tables_of(name) if ours[2].endswith(t.title)]
        mean = table.rows[OURS[0]][table.columns.index("LPIPS")].mean
        assert ours[-1].startswith(f"{mean:.3f}") and float(baseline[-1].split()[0]) > mean
        published = [values for preset in PRESETS.values() for values in preset.published.values()]
        assert task.name == ours[0] and tuple(float(value) for value in paper[-3:]) in published


def test_the_results_page_has_peers_where_they_were_measured(monkeypatch):
    assert "--against NAME=FOLDER" in make.results_page()
    name, cells = next(iter(TASK_OF)), [Cell(9.5), Cell(0.5), Cell(0.25)]
    table = Table("4x, 2 images", ["PSNR (dB)", "SSIM", "LPIPS"], {"Peer": cells, "bicubic": cells, OURS[0]: cells})
    read = make.tables_of
    monkeypatch.setattr(make, "tables_of", lambda n: [*read(n), table] if n == name else read(n))
    monkeypatch.setattr(make, "peers_of", lambda n: ["Peer"])
    assert "| Peer | 9.500 | 0.500 | 0.250 |" in make.results_page()


def test_the_best_baseline_is_not_ours_and_was_measured():
    rows = {
        "ours, right prompt": 0.1,
        "Peer": 0.2,
        "TextIR, published": 0.2,
        "bicubic": 0.3,
        "nearest": 0.5,
        "other": None,
    }
    table = Table("4x", ["SSIM", "LPIPS"], {name: [Cell(0.0), Cell(mean)] for name, mean in rows.items()})
    assert make.best_baseline(table, ["Peer"]) == "bicubic"

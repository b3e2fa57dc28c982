import json
import re

import pytest
import yaml
from conftest import make_image, make_mask
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from model_cards import make, results
from model_cards.facts import FACTS
from model_cards.make import HERE, REPORTS, make_card
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.tables import Cell, Table, markdown, read_tables, sha256
from textir_hf.hub.publish import check_folder
from textir_hf.models.embedding import CHECKPOINTS, ENCODER
from textir_hf.tasks import TASKS, embedded_checkpoints


@pytest.mark.parametrize("name", FACTS)
def test_cards_are_what_the_reports_say(name):
    for path in (HERE / f"{name}.md", CHECKPOINTS / name / "README.md"):
        assert path.read_text() == make_card(name), "run make cards"


def test_every_embedded_checkpoint_has_a_card_of_its_task():
    assert set(FACTS) == {ENCODER, *embedded_checkpoints()}
    assert {name: facts.task for name, facts in FACTS.items() if facts.task} == {
        task.checkpoint: task.name for task in TASKS.values()
    }


@pytest.mark.parametrize("name", embedded_checkpoints())
def test_embedded_checkpoints_are_published_with_their_samples_and_reports(name):
    files = check_folder(CHECKPOINTS / name)
    assert set(files) >= {"README.md", "model_index.json"}
    links = re.findall(r"\]\((\S+?)\)|url: (\S+)", make_card(name))
    links = {link for pair in links for link in pair if link}
    assert links >= {f"samples/{name}.jpg", f"results/{name}.json"}
    assert links <= set(files), "the card has a dead link"


@pytest.mark.parametrize("name", FACTS)
def test_reports_are_of_the_weights_that_are_embedded(name):
    report = json.loads((REPORTS / f"{name}.json").read_text())
    files = [*(CHECKPOINTS / name).rglob("*.safetensors"), CHECKPOINTS / ENCODER / "model.safetensors"]
    hashes = {f"{p.parent.name}/{p.name}": sha256(p) for p in files}
    assert report["weights"] == hashes and report["checkpoint"] == name


@pytest.mark.parametrize("name", FACTS)
def test_cards_are_complete_and_their_metadata_is_valid(name):
    card, text = ModelCard.load(HERE / f"{name}.md"), (HERE / f"{name}.md").read_text()
    assert card.data.license == "other" and card.data.license_name == "research-use-only" and card.data.eval_results
    assert card.data.license_link == "LICENSE" and (CHECKPOINTS / name / "LICENSE").is_file()
    for heading in ("What it does", "How to use it", "Training", "Measured", "Limits, bias and misuse", "Citation"):
        assert f"## {heading}" in text
    assert "None" not in text and "{" not in text.split("## Citation")[0]
    index = yaml.safe_load(text.split("---\n")[1])["model-index"]
    again, metadata = model_index_to_eval_results(index)
    assert again == name and len(metadata) == len(card.data.eval_results)
    cells = [c for t in read_tables(REPORTS / f"{name}.json") for cs in t.rows.values() for c in cs]
    means = {round(c.mean, digits) for c in cells if c.mean is not None for digits in (1, 3)}
    assert all(result.metric_value in means for result in metadata)


@pytest.mark.parametrize("name", FACTS)
def test_the_code_of_a_card_runs(name, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", make_card(name), re.DOTALL).group(1)
    make_image(40, 40).save(tmp_path / "image.png")
    make_mask(40, 40).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    if FACTS[name].task:
        assert names["restored"].width == 40 * (8 if "scale=8" in code else 1)
    else:
        assert names["embeddings"].shape == (2, 512)


@pytest.mark.parametrize("name", FACTS)
def test_a_card_misses_a_measurement_by_group_only_where_there_is_none(name):
    measured = any("by group" in table.title for table in read_tables(REPORTS / f"{name}.json"))
    assert ("No measurement by group" in make_card(name)) != measured


def test_the_results_page_is_what_the_reports_say():
    text = results.PAGE.read_text()
    assert text == results.results_page(), "run make results"
    for name in FACTS:
        for table in read_tables(REPORTS / f"{name}.json"):
            assert markdown(table) in text


def test_figures_with_an_interval_in_the_readme_are_those_of_the_reports():
    shown = re.findall(r"\d+\.\d+ ± \d+\.\d+", (HERE.parent / "README.md").read_text())
    assert shown and set(shown) <= results.figures()


def test_a_changed_page_or_card_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    with pytest.raises(SystemExit, match=r"page.md differ from what would be written. Run: make results"):
        make.write({page: "a"}, True, "make results")
    make.write({page: "a"}, False, "make results")
    make.write({page: "a"}, True, "make results")
    with pytest.raises(SystemExit, match=r"page.md differ"):
        make.write({page: "b"}, True, "make results")


def test_the_readme_table_has_ours_the_best_baseline_and_the_paper_for_each_task():
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in results.readme_table().splitlines()[2:]]
    assert [line[0] for line in lines] == [name for name in TASKS for _ in range(3)]
    tasks = iter(TASKS.values())
    for ours, baseline, paper in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        tables = read_tables(REPORTS / f"{next(tasks).checkpoint}.json")
        (table,) = [t for t in tables if ours[2].endswith(t.title)]
        assert (
            ours[-1]
            == markdown(table).split("| ours, right prompt |")[1].split("|")[table.columns.index("LPIPS")].strip()
        )
        assert float(baseline[-1].split()[0]) > float(ours[-1].split()[0])
        published = [values for preset in PRESETS.values() for values in preset.published.values()]
        assert tuple(float(value) for value in paper[-3:]) in published


def test_the_best_baseline_is_not_ours_and_was_measured():
    rows = {"ours, right prompt": 0.1, "bicubic": 0.3, "nearest": 0.5, "originals": None}
    table = Table("4x", ["SSIM", "LPIPS"], {name: [Cell(0.0), Cell(mean)] for name, mean in rows.items()})
    assert results.best_baseline(table) == "bicubic"

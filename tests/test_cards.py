import json

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from model_cards.make import CARDS, HERE, make_card
from textir_hf.evaluation.tables import read_tables, sha256
from textir_hf.hub.publish import _check_card, check_folder
from textir_hf.models.embedding import CHECKPOINTS, ENCODER
from textir_hf.tasks import embedded_checkpoints


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_what_the_reports_say(name):
    for path in (HERE / f"{name}.md", CHECKPOINTS / name / "README.md"):
        assert path.read_text() == make_card(name), "run make cards"


@pytest.mark.parametrize("name", embedded_checkpoints())
def test_embedded_checkpoints_can_be_published_as_they_are(name):
    names = set(check_folder(CHECKPOINTS / name))
    assert names >= {"README.md", f"samples/{name}.jpg", f"results/{name}.json", "model_index.json"}


@pytest.mark.parametrize("name", CARDS)
def test_reports_are_of_the_weights_that_are_embedded(name):
    report = json.loads((HERE / "results" / f"{name}.json").read_text())
    files = [*(CHECKPOINTS / name).rglob("*.safetensors"), CHECKPOINTS / ENCODER / "model.safetensors"]
    hashes = {f"{p.parent.name}/{p.name}": sha256(p) for p in files}
    assert report["weights"] == hashes and report["checkpoint"] == name


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_complete_and_their_metadata_is_valid(name):
    path = HERE / f"{name}.md"
    _check_card(path)
    card = ModelCard.load(path)
    assert card.data.license == "other" and card.data.license_name == "research-use-only" and card.data.eval_results
    text = path.read_text()
    for heading in ("What it does", "How to use it", "Training", "Measured", "Limits, bias and misuse", "Citation"):
        assert f"## {heading}" in text
    assert "None" not in text and "{{" not in text
    index = yaml.safe_load(text.split("---\n")[1])["model-index"]
    again, results = model_index_to_eval_results(index)
    assert again == name and len(results) == len(card.data.eval_results)
    cells = [c for t in read_tables(HERE / "results" / f"{name}.json") for cs in t.rows.values() for c in cs]
    means = {round(c.mean, digits) for c in cells if c.mean is not None for digits in (1, 3)}
    assert all(result.metric_value in means for result in results)

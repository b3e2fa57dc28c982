import re
from string import Template

import pytest
from conftest import make_image, make_mask
from huggingface_hub import ModelCard

from model_cards.make import NAMES, TASK_OF, make_card, tables_of
from textir_hf.hub.publish import check_folder
from textir_hf.models.embedding import CHECKPOINTS
from textir_hf.tasks import embedded_checkpoints


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_complete_with_valid_metadata_samples_and_reports(name):
    text = make_card(name)
    card = ModelCard(text)
    assert card.data.license_link == "LICENSE" and (CHECKPOINTS / name / "LICENSE").is_file()
    assert not Template(text).get_identifiers() and "None" not in text
    cells = [(t, c) for t in tables_of(name) for row in t.rows.values() for c in row if c.mean is not None]
    means = {round(c.mean, t.digits) for t, c in cells}
    assert card.data.eval_results and {result.metric_value for result in card.data.eval_results} <= means
    if name in embedded_checkpoints():
        files = check_folder(CHECKPOINTS / name)
        links = {link for pair in re.findall(r"\]\((\S+?)\)|url: (\S+)", text) for link in pair if link}
        assert {f"samples/{name}.jpg", f"results/{name}.json"} <= links <= set(files)


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

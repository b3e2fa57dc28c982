"""What is pushed to the Hub: checked folders, cards with their samples, and the Space."""

import pytest
from conftest import CARD
from huggingface_hub import ModelCard
from test_hub import NAME

from textir_hf.cli.main import main
from textir_hf.hub.publish import publish

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


def test_samples_and_results_are_pushed_from_where_they_live(hub, folder, monkeypatch, tmp_path):
    cards = tmp_path / "model_cards"
    for name in ("samples/tiny.jpg", "results/tiny.json", "results/other.json"):
        (cards / name).parent.mkdir(parents=True, exist_ok=True)
        (cards / name).write_text(name)
    monkeypatch.setattr("textir_hf.hub.publish._CARDS", cards)
    links = (
        "![Faces](samples/tiny.jpg) [report](results/tiny.json) [gone](results/gone.json) [out](../results/other.json)"
    )
    (folder / "README.md").write_text(CARD + links)
    publish(folder, NAME)
    pushed = hub.repositories[NAME].commits[hub.repositories[NAME].refs["main"]]
    assert pushed["samples/tiny.jpg"] == b"samples/tiny.jpg" and pushed["results/tiny.json"] == b"results/tiny.json"
    own = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(pushed) - {".gitattributes"} == own | {"samples/tiny.jpg", "results/tiny.json"}


def test_a_space_is_assembled_and_pushed_whole(hub, capsys, tmp_path):
    assert main(["publish-space", "--repo", "me/textir", "--dry-run"]) == 0
    listed = capsys.readouterr().out
    assert "dry run" in listed and not hub.repositories
    names = {line.split("MB")[1].strip() for line in listed.splitlines() if "MB" in line} - {"in all"}
    assert {"app.py", "README.md", "requirements.txt", "textir_hf/pipeline/pipeline.py"} <= names
    assert "textir_hf/checkpoints/textir-mini-inpainting/restorer/diffusion_pytorch_model.safetensors" in names
    assert {name.split("/")[0] for name in names} == {"app.py", "README.md", "requirements.txt", "textir_hf"}
    assert main(["publish-space", "--repo", "me/textir", "--model", "me/textir-face"]) == 0
    space = hub.repositories["me/textir"]
    files = space.commits[space.refs["main"]]
    assert set(files) == names and hub.variables == {"TEXTIR_CHECKPOINTS": "me/textir-face"}
    card = ModelCard(files["README.md"].decode()).data.to_dict()
    assert card["sdk"] == "gradio" and f"gradio=={card['sdk_version']}" in files["requirements.txt"].decode()
    assert card["models"] == ["me/textir-face"] and card["license"] == "other"
    for flag in ("--repo", "--model"):
        assert main(["publish-space", "--repo", "me/textir", flag, "no name"]) == 2
        assert f"{flag} must be owner/name, got no name" in capsys.readouterr().err
    hub.faults["/preupload/main"] = 403
    assert main(["publish-space", "--repo", "me/textir"]) == 2
    assert "could not be pushed to me/textir" in capsys.readouterr().err

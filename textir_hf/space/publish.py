"""Assembles what a Space needs and pushes it."""

import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id

from textir_hf.hub.publish import pushing

ROOT = Path(__file__).parent.parent.parent
_CARD = Path(__file__).parent / "web" / "space.md"


def assemble(folder: Path, models: list[str]) -> list[Path]:
    """Writes a Space's files: the app, its requirements, the package with its checkpoints, and a README."""
    if not (ROOT / "app.py").is_file():
        raise ValueError("A Space is made from a source checkout: clone the repository, and run this there.")
    for model in models:
        try:
            validate_repo_id(model)
        except HFValidationError as error:
            raise ValueError(f"--model must be owner/name on the Hub, got {model}.") from error
    requirements = (ROOT / "requirements.txt").read_text()
    version = re.search(r"^gradio==(\S+)$", requirements, re.MULTILINE)[1]
    listed = "models:\n" + "".join(f"- {m}\n" for m in models) if models else ""
    (folder / "README.md").write_text(_CARD.read_text(encoding="utf-8").format(version=version, models=listed))
    (folder / "requirements.txt").write_text(requirements)
    shutil.copy(ROOT / "app.py", folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.tmp")
    shutil.copytree(ROOT / "textir_hf", folder / "textir_hf", ignore=ignored)
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def publish_space(repo: str, dry_run: bool = False, private: bool = False, models: list[str] | None = None) -> str:
    """Pushes the page as a Space."""
    models = models or []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = assemble(folder, models)
        lines = [f"{(folder / f).stat().st_size / 1e6:9.2f} MB  {f}" for f in files]
        lines.append(f"{sum((folder / f).stat().st_size for f in files) / 1e6:9.2f} MB  in all")
        if dry_run:
            return "\n".join([*lines, f"Nothing was pushed to {repo}: this was a dry run."])
        api = HfApi()
        with pushing("The Space", repo):
            api.create_repo(repo, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
            if models:
                api.add_space_variable(repo, "TEXTIR_CHECKPOINTS", " ".join(models))
            url = api.upload_folder(
                repo_id=repo, repo_type="space", folder_path=folder, commit_message="Upload the TextIR Space"
            ).commit_url
    return "\n".join([*lines, f"Pushed: {url}"])

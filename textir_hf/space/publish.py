"""Assembles what a Space needs and pushes it."""

import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from textir_hf.hub.publish import pushing

ROOT = Path(__file__).parent.parent.parent
_CARD = Path(__file__).parent / "web" / "space.md"


def publish_space(repo: str, dry_run: bool, private: bool, models: list[str]) -> str:
    """Pushes the page as a Space: the app, its requirements, and the package, which also offers `models` of the Hub."""
    if not (ROOT / "app.py").is_file():
        raise ValueError("A Space is made from a source checkout: clone the repository, and run this there.")
    requirements = (ROOT / "requirements.txt").read_text()
    version = re.search(r"^gradio==(\S+)$", requirements, re.MULTILINE)[1]
    listed = "models:\n" + "".join(f"- {m}\n" for m in models) if models else ""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "README.md").write_text(_CARD.read_text(encoding="utf-8").format(version=version, models=listed))
        (folder / "requirements.txt").write_text(requirements)
        shutil.copy(ROOT / "app.py", folder)
        ignored = shutil.ignore_patterns("__pycache__", "*.tmp")
        shutil.copytree(ROOT / "textir_hf", folder / "textir_hf", ignore=ignored)
        sizes = {p.relative_to(folder): p.stat().st_size / 1e6 for p in sorted(folder.rglob("*")) if p.is_file()}
        lines = [f"{size:9.2f} MB  {name}" for name, size in sizes.items()]
        lines.append(f"{sum(sizes.values()):9.2f} MB  in all")
        if dry_run:
            return "\n".join([*lines, f"Nothing was pushed to {repo}: this was a dry run."])
        api = HfApi()
        with pushing("The Space", repo):
            api.create_repo(repo, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
            if models:
                api.add_space_variable(repo, "TEXTIR_CHECKPOINTS", " ".join(models))
            options = {"repo_type": "space", "commit_message": "Upload the TextIR Space"}
            url = api.upload_folder(repo_id=repo, folder_path=folder, **options).commit_url
    return "\n".join([*lines, f"Pushed: {url}"])

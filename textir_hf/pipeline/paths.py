"""Where checkpoints lie and may be written, checked before anything heavy is loaded."""

from pathlib import Path

import textir_hf
from textir_hf.tasks import embedded_checkpoints

EMBEDDED = Path(textir_hf.__file__).parent / "checkpoints"


def checkpoint_folder(name: str) -> Path | None:
    """The folder of an embedded or local checkpoint; None for a repository of the Hub.

    Args:
        name: As for `TextIRPipeline.from_pretrained`.

    Raises:
        ValueError: It is none of these.
    """
    folder = EMBEDDED / name if name in embedded_checkpoints() else Path(name)
    if folder.is_dir():
        return folder
    if name.count("/") == 1 and not folder.exists():
        return None
    known = ", ".join(embedded_checkpoints())
    raise ValueError(f"expected one of {known}, a folder, or owner/name on the Hub.")


def check_conversion(source: Path, output: Path) -> None:
    """Checks the paths of a conversion.

    Raises:
        ValueError: The file is missing, or the folder is not empty.
    """
    if not source.is_file():
        raise ValueError(f"{source} is no file. Give the path of the authors' net_g_*.pth.")
    check_new_folder(output)


def check_new_folder(output: Path) -> None:
    """Checks that a folder can be made, or is empty.

    Raises:
        ValueError: It exists and is not empty, or is a file.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"The output {output} exists already. Choose another folder.")

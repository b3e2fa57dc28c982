"""What has been measured so far, on the disk."""

import base64
import json
from pathlib import Path

import numpy as np

from textir_hf.atomic import keep_facts


class Records:
    """Every image's values, appended line by line, so that a killed run loses at most one image.

    Args:
        folder: Where they are kept.
        facts: What decides the values; a folder with others is refused.
        rank: Of this process.

    Raises:
        ValueError: Values of another evaluation lie in the folder.
    """

    def __init__(self, folder: Path, facts: dict, rank: int) -> None:
        self.folder, self.rank = folder, rank
        keep_facts(folder / "evaluation.json", facts, rank == 0)

    def read(self) -> list[dict]:
        """What has been measured, each image once; a torn last line is dropped."""
        found = {}
        for path in sorted(self.folder.glob("values-*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                found[record["index"]] = record
        return list(found.values())

    def add(self, index: int, values: list, embeddings: dict[str, np.ndarray]) -> None:
        """Keeps an image's values and embeddings."""
        packed = {k: base64.b64encode(v.astype(np.float32).tobytes()).decode() for k, v in embeddings.items()}
        line = json.dumps({"index": index, "values": values, "embeddings": packed})
        path = self.folder / f"values-{self.rank}.jsonl"
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write(("\n" if torn else "") + line + "\n")


def unpack(records: list[dict]) -> dict[str, np.ndarray]:
    """Embeddings of all records by name: `[N, D]`."""
    found: dict[str, list] = {}
    for record in sorted(records, key=lambda r: r["index"]):
        for name, value in record["embeddings"].items():
            found.setdefault(name, []).append(np.frombuffer(base64.b64decode(value), np.float32))
    return {name: np.stack(rows) for name, rows in found.items()}

"""The folder that `textir bulk` writes: parquet files, and what lets a stopped run go on."""

import json
from pathlib import Path

from textir_hf.atomic import keep_facts, replacing


class Shards:
    """Results in parquet files, and the rows that failed.

    Args:
        folder: The folder; made if it is missing.
        facts: What decides the results.
        process: Number of this process.

    Raises:
        ValueError: The folder holds the results of other facts.
    """

    def __init__(self, folder: Path, facts: dict, process: int) -> None:
        self.folder, self.process = folder, process
        path = folder / "bulk.json"
        if not path.is_file() and self.finished():
            raise ValueError(f"{folder} holds results of an unknown run. Give another --output.")
        keep_facts(path, facts, process == 0)

    def finished(self) -> set[int]:
        """Numbers of the rows that lie in finished files, whoever wrote them."""
        import pyarrow.parquet as pq

        paths = sorted(self.folder.glob("part-*.parquet"))
        return {number for path in paths for number in pq.read_table(path, columns=["row"])["row"].to_pylist()}

    def failed(self) -> set[int]:
        """Numbers of the rows that failed, in whichever process; the torn last line of a killed one is dropped."""
        found = set()
        for path in self.folder.glob("failed-*.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    found.add(json.loads(line)["row"])
                except (ValueError, TypeError, KeyError):
                    continue
        return found

    def add_failure(self, number: int, error: str) -> None:
        """Keeps a row's number and what was wrong with it."""
        path = self.folder / f"failed-{self.process}.jsonl"
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps({"row": number, "error": error}) + "\n")

    def write(self, rows: list[dict]) -> None:
        """Writes results as one file.

        Args:
            rows: Each with `row`, its number; `image`, as `datasets.Image` has it; `prompt`; and `settings`, JSON.
        """
        from datasets import Dataset, Features, Image, Value

        text = Value("string")
        features = Features({"row": Value("int64"), "image": Image(), "prompt": text, "settings": text})
        with replacing(self.folder / f"part-{rows[0]['row']:09d}.parquet") as temporary:
            Dataset.from_list(rows, features=features).to_parquet(temporary)

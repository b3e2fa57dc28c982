"""From every image's values to tables."""

import numpy as np

from textir_hf.evaluation.conditions import OURS
from textir_hf.evaluation.protocols import Protocol
from textir_hf.evaluation.tables import Cell, Table, cell
from textir_hf.metrics.functional import frechet_distance

FRECHET = "Fréchet distance (100, {})"  # of the embeddings of this encoder
_PUBLISHED = ("PSNR (dB)", "SSIM", "LPIPS")
Rows = dict[str, dict[str, list[float]]]  # row, column, values in the images' order


def group(records: list[dict]) -> dict[str, Rows]:
    """Values of all images by table, row and column."""
    grouped: dict[str, Rows] = {}
    for record in records:
        for table, row, column, value in record["values"]:
            grouped.setdefault(table, {}).setdefault(row, {}).setdefault(column, []).append(value)
    return grouped


def tables(protocol: Protocol, grouped: dict[str, Rows], records: list[dict], encoder: str) -> list[Table]:
    """All tables of an evaluation, from the records of the images and their values, grouped."""
    result = []
    for title, rows in grouped.items():
        digits = 1 if title.startswith(("text effect", "color words")) else 3
        table = _table(title, rows, digits)
        result.append(table)
        if OURS[0] not in rows:
            continue
        _add_frechet(table, title, records, encoder)
        for name, values in protocol.published.items():
            known = dict(zip(_PUBLISHED, values, strict=True))
            table.rows[name] = [Cell(known.get(column)) for column in table.columns]
        result.append(_differences(title, rows))
    return result


def _table(title: str, rows: Rows, digits: int) -> Table:
    count = max(len(values) for columns in rows.values() for values in columns.values())
    columns = list(dict.fromkeys(column for columns in rows.values() for column in columns))
    cells = {row: [cell(values.get(column, [])) for column in columns] for row, values in rows.items()}
    return Table(f"{title}, {count} images", columns, cells, digits)


def _add_frechet(table: Table, title: str, records: list[dict], encoder: str) -> None:
    table.columns.append(FRECHET.format(encoder))
    target = [record["embeddings"][f"{title}|target"] for record in records]
    for name, cells in table.rows.items():
        results = [record["embeddings"][f"{title}|{name}"] for record in records]
        cells.append(Cell(100 * frechet_distance(results, target)))


def _differences(title: str, rows: Rows) -> Table:
    """Means of the differences on the same image; their intervals are narrower than the means' own."""
    ours, cells = rows[OURS[0]], {}
    columns = [column for column in ours if column.endswith(("PSNR (dB)", "SSIM", "LPIPS"))]
    for name, values in rows.items():
        if name not in OURS:
            full = [cell(np.subtract(ours[column], values[column]).tolist()) for column in columns]
            cells[name] = [Cell(c.mean, c.half) for c in full]
    return Table(f"{title}, ours (right prompt) minus each other method, paired by image", columns, cells)

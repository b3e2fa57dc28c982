"""From every image's values to tables."""

import numpy as np

from textir_hf.evaluation.protocols import Protocol
from textir_hf.evaluation.tables import Cell, Table, cell
from textir_hf.metrics.functional import MASK_SHARES, frechet_distance

CURVES = ("beta", "skip_strength", "factor")
FRECHET = "Fréchet distance (100, {})"  # of the embeddings of this encoder
BY_MASK_SHARE = ("masked PSNR (dB)", "masked LPIPS")
_PUBLISHED = ("PSNR (dB)", "SSIM", "LPIPS")
Rows = dict[str, dict[str, list[float]]]  # row, column, values in the images' order


def group(records: list[dict]) -> dict[str, Rows]:
    """Values of all images by table, row and column."""
    grouped: dict[str, Rows] = {}
    for record in sorted(records, key=lambda r: r["index"]):
        for table, row, column, value in record["values"]:
            grouped.setdefault(table, {}).setdefault(row, {}).setdefault(column, []).append(value)
    return grouped


def tables(
    protocol: Protocol, grouped: dict[str, Rows], embeddings: dict[str, np.ndarray], encoder: str
) -> list[Table]:
    """All tables of an evaluation.

    Args:
        protocol: What was measured.
        grouped: The values.
        embeddings: `[N, D]` of what was restored, by "table|method", and of the targets.
        encoder: Name of the dual encoder.
    """
    result = []
    for title, rows in grouped.items():
        if title in CURVES:
            continue
        methods = {name: columns for name, columns in rows.items() if name}
        table = _table(title, methods, 1)
        if f"{title}|target" in embeddings:
            table.digits = 3
            _add_frechet(table, title, embeddings, encoder)
            for name, values in protocol.published.items():
                known = dict(zip(_PUBLISHED, values, strict=True))
                table.rows[name] = [Cell(known.get(column)) for column in table.columns]
        if "shift of the middle" in table.columns:
            _add_border_ratio(table, methods)
        result.append(table)
        if "" in rows:
            shares = np.array(rows[""]["share"])
            result += [_by_mask_share(title, methods, shares, column) for column in BY_MASK_SHARE]
    return [*result, *(_table(name, grouped[name], 3) for name in CURVES if name in grouped)]


def _table(title: str, rows: Rows, digits: int) -> Table:
    count = max(len(values) for columns in rows.values() for values in columns.values())
    columns = list(dict.fromkeys(column for columns in rows.values() for column in columns))
    cells = {row: [cell(values.get(column, [])) for column in columns] for row, values in rows.items()}
    return Table(f"{title}, {count} images", columns, cells, digits)


def _add_frechet(table: Table, title: str, embeddings: dict[str, np.ndarray], encoder: str) -> None:
    table.columns.append(FRECHET.format(encoder))
    target = embeddings[f"{title}|target"]
    for name, cells in table.rows.items():
        results = embeddings.get(f"{title}|{name}", np.empty((0, 0)))
        cells.append(Cell(100 * frechet_distance(results, target)) if len(results) > 1 else Cell())


def _add_border_ratio(table: Table, rows: Rows) -> None:
    table.columns.append("border / middle")
    for row, values in rows.items():
        middle, border = (np.mean(values[f"shift of the {place}"]) for place in ("middle", "border"))
        table.rows[row].append(Cell(float(border / middle)))


def _by_mask_share(title: str, rows: Rows, shares: np.ndarray, column: str) -> Table:
    """Means of the images whose masks cover about as much; the first table has the single values."""
    inside = {f"{100 * low:.0f}-{100 * high:.0f} %": (shares > low) & (shares <= high) for low, high in MASK_SHARES}
    inside = {name: images for name, images in inside.items() if images.any()}
    cells: dict[str, list[Cell]] = {}
    for row, values in rows.items():
        full = [cell(np.array(values[column])[images].tolist()) for images in inside.values()]
        cells[row] = [Cell(c.mean, c.half) for c in full]
    heads = [f"{name} ({images.sum()})" for name, images in inside.items()]
    return Table(f"{title}, {column} by the mask's share of the image (images)", heads, cells, 3)

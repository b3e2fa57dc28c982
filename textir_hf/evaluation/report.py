"""From every image's values to tables, and grids of images for people to look at."""

from pathlib import Path

import numpy as np
from PIL import Image

from textir_hf.evaluation.measures import Measures
from textir_hf.evaluation.protocols import Protocol
from textir_hf.evaluation.tables import Cell, Table, cell
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import draw_grid
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
        quality = protocol.ours[0] in rows
        table = _table(title, rows, digits=3 if quality else 1)
        result.append(table)
        if not quality:  # text effect, color words
            continue
        table.columns.append(FRECHET.format(encoder))
        for name, cells in table.rows.items():
            ours, targets = ([r["embeddings"][f"{title}|{kind}"] for r in records] for kind in (name, "target"))
            cells.append(Cell(100 * frechet_distance(np.array(ours), np.array(targets))))
        for name, values in protocol.published.items():
            known = dict(zip(_PUBLISHED, values, strict=True))
            table.rows[name] = [Cell(known.get(column)) for column in table.columns]
        own, differences = rows[protocol.ours[0]], {}
        columns = [column for column in own if column.endswith(_PUBLISHED)]
        for name in [row for row in rows if row not in protocol.ours]:  # intervals are narrower than the means' own
            full = [cell(np.subtract(own[column], rows[name][column]).tolist()) for column in columns]
            differences[name] = [Cell(c.mean, c.half) for c in full]
        of = f"{title}, {protocol.ours[0]} minus each other method, paired by image"
        result.append(Table(of, columns, differences))
    return result


def _table(title: str, rows: Rows, digits: int) -> Table:
    count = max(len(values) for columns in rows.values() for values in columns.values())
    columns = list(dict.fromkeys(column for columns in rows.values() for column in columns))
    cells = {row: [cell(values.get(column, [])) for column in columns] for row, values in rows.items()}
    return Table(f"{title}, {count} images", columns, cells, digits)


def draw_grids(measures: Measures, grouped: dict[str, Rows], folder: Path) -> None:
    """Writes for each table the best, median and worst image by LPIPS under the first prompt, by every method."""
    for table in measures.damage.tables:
        columns = grouped[table][measures.protocol.ours[0]]
        values = columns.get("masked LPIPS", columns["LPIPS"])
        order = np.argsort(values).tolist()
        chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        rows = []
        for name, index in chosen.items():
            image, sentences = measures.test_set.image(index), measures.conditions.sentences[index]
            damaged = Image.fromarray(measures.damage.damaged(image, measures.damage.extent(index, table)))
            damaged = damaged.resize(image.shape[1::-1], Image.Resampling.NEAREST)
            rows.append([(f"{name}: LPIPS {values[index]:.3f}", damaged)])
            for method, result in measures.restored(index, table).items():
                right = sentences and method == measures.protocol.ours[0]
                shown_as = f"right prompt: “{'; '.join(sentences)}”" if right else method
                rows[-1].append((shown_as, Image.fromarray(result)))
            rows[-1].append(("original", Image.fromarray(image)))
        save_image(draw_grid(rows, cell=128), folder / f"{table.split(' ')[0]}.png")

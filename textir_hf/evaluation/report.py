"""From every picture's values to tables, curves and sheets of pictures."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from textir_hf.evaluation.measures import OURS, Measures
from textir_hf.evaluation.protocols import Protocol
from textir_hf.evaluation.tables import Cell, Table, cell
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import draw_grid
from textir_hf.metrics.functional import HOLE_BUCKETS, frechet_distance

CURVES = ("beta", "strength", "factor")
FRECHET = "Fréchet distance (100, textir-mini-clip)"
Grouped = dict[str, dict[str, dict[str, list[float]]]]  # table, row, column, values in the pictures' order


def group(records: list[dict]) -> Grouped:
    """Values of all pictures by table, row and column."""
    grouped: Grouped = {}
    for record in sorted(records, key=lambda r: r["index"]):
        for table, row, column, value in record["values"]:
            grouped.setdefault(table, {}).setdefault(row, {}).setdefault(column, []).append(value)
    return grouped


def tables(protocol: Protocol, grouped: Grouped, embeddings: dict[str, np.ndarray], encoder: str) -> list[Table]:
    """All tables of an evaluation.

    Args:
        protocol: What was measured.
        grouped: The values.
        embeddings: `[N, D]` of what was restored, by "table|method", and of the targets.
        encoder: Name of the dual encoder.
    """
    made = []
    for title, rows in grouped.items():
        if title in CURVES:
            continue
        shares = rows.pop("", {}).get("share")
        count = max(len(v) for columns in rows.values() for v in columns.values())
        columns = list(dict.fromkeys(c for columns in rows.values() for c in columns))
        table = Table(
            f"{title}, {count} pictures", columns, {r: [cell(v.get(c, [])) for c in columns] for r, v in rows.items()}
        )
        quality = f"{title}|target" in embeddings
        if quality:
            _add_frechet(table, title, embeddings, encoder)
            for name, values in protocol.published.items():
                known = dict(zip(("PSNR (dB)", "SSIM", "LPIPS"), values, strict=True))
                table.rows[name] = [Cell(known.get(column)) for column in table.columns]
        if "shift of the middle" in columns:
            table.columns.append("border / middle")
            for row, values in rows.items():
                middle = np.mean(values["shift of the middle"])
                table.rows[row].append(Cell(float(np.mean(values["shift of the border"]) / middle)))
        table.digits = 3 if quality else 1
        made.append(table)
        if shares is not None:
            made += [_by_hole_size(title, rows, np.array(shares), c) for c in ("hole PSNR (dB)", "hole LPIPS")]
    return [*made, *(_curve_table(name, grouped[name]) for name in CURVES if name in grouped)]


def _add_frechet(table: Table, title: str, embeddings: dict[str, np.ndarray], encoder: str) -> None:
    table.columns.append(FRECHET.replace("textir-mini-clip", encoder))
    target = embeddings[f"{title}|target"]
    for name, cells in table.rows.items():
        made = embeddings.get(f"{title}|{name}")
        cells.append(Cell() if made is None or len(made) < 2 else Cell(100 * frechet_distance(made, target)))


def _by_hole_size(title: str, rows: dict, shares: np.ndarray, column: str) -> Table:
    inside = {f"{100 * low:.0f}-{100 * high:.0f} %": (shares > low) & (shares <= high) for low, high in HOLE_BUCKETS}
    inside = {name: where for name, where in inside.items() if where.any()}
    cells = {row: [cell(np.array(values[column])[w].tolist()) for w in inside.values()] for row, values in rows.items()}
    for row in cells.values():
        for single in row:
            single.values = []  # the first table has them
    heads = [f"{name} ({where.sum()})" for name, where in inside.items()]
    return Table(f"{title}, {column} by the hole's share of the picture (pictures)", heads, cells, 3)


def _curve_table(name: str, rows: dict) -> Table:
    columns = list(next(iter(rows.values())))
    count = len(next(iter(rows.values()))[columns[0]])
    return Table(f"{name}, {count} pictures", columns, {r: [cell(v[c]) for c in columns] for r, v in rows.items()}, 3)


def draw_curves(made: list[Table], path: Path) -> bool:
    """Means with their 95 % intervals against beta, s and the factor, as PNG; False where there are none."""
    curves = [t for t in made if t.title.split(",")[0] in CURVES]
    if not curves:
        return False
    kinds = list(dict.fromkeys(c.split(",")[0] for t in curves for c in t.columns))
    figure, axes = plt.subplots(
        len(kinds), len(curves), figsize=(4.2 * len(curves), 2.9 * len(kinds)), squeeze=False, sharey="row"
    )
    for across, table in enumerate(curves):
        name, xs = table.title.split(",")[0], [float(row) for row in table.rows]
        for down, kind in enumerate(kinds):
            axis = axes[down, across]
            for i, column in enumerate(table.columns):
                if column.split(",")[0] != kind:
                    continue
                cells = [row[i] for row in table.rows.values()]
                label = column.split(", ")[1].split(" (")[0]
                axis.errorbar(xs, [c.mean for c in cells], [c.half for c in cells], marker="o", capsize=3, label=label)
            if name == "factor":
                axis.set_xscale("log", base=2)
                axis.set_xticks(xs, [f"{x:g}" for x in xs])
            axis.set_xlabel({"strength": "strength s"}.get(name, name))
            axis.set_ylabel(kind)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
    figure.tight_layout()
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110)
    plt.close(figure)
    temporary.replace(path)
    return True


def draw_sheets(measures: Measures, grouped: Grouped, folder: Path) -> list[Path]:
    """For each table the best, the median and the worst picture by LPIPS under the right prompt, by every method."""
    paths = []
    for table in measures.tables():
        columns = grouped[table][OURS[0]]
        values = columns.get("hole LPIPS", columns["LPIPS"])
        order, rows = np.argsort(values), []
        chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        for name, index in ((n, int(i)) for n, i in chosen.items()):
            picture, damage = measures.test_set.picture(index), measures.damage(index, table)
            shown = [(f"{name}: LPIPS {values[index]:.3f}", _shown(measures, picture, damage))]
            shown += [(method, Image.fromarray(made)) for method, made in measures.restored(index, table).items()]
            said = "; ".join(measures.sentences[index])
            shown = [(f"right prompt: “{said}”" if m == OURS[0] else m, made) for m, made in shown]
            rows.append([*shown, ("original", Image.fromarray(picture))])
        paths.append(folder / f"{table.split(' ')[0]}.png")
        save_image(draw_grid(rows, 128, 3), paths[-1])
    return paths


def _shown(measures: Measures, picture: np.ndarray, damage) -> Image.Image:
    """The damaged picture, as one sees it."""
    if isinstance(damage, np.ndarray):
        return Image.fromarray(np.where(damage[..., None], 255, picture).astype(np.uint8))
    if damage is not None:
        return Image.fromarray(measures._small(picture, damage)).resize(picture.shape[1::-1], Image.NEAREST)
    return Image.fromarray(picture).convert("L").convert("RGB")

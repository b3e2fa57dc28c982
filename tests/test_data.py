import io
import tarfile
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest
from conftest import encoded, make_image
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from textir_hf.hub.data import open_rows, read_image, read_square

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets leaves files open


def caption(number: int) -> str:
    return f"{('a red', 'a blue', 'an old')[number % 3]} face {number}"


def write_shard(path, numbers) -> str:
    """A WebDataset shard: an image `N.png` and a caption `N.txt` for each number."""
    with tarfile.open(path, "w") as tar:
        for n in numbers:
            for suffix, content in (
                ("png", encoded(make_image(40, 30, seed=n))["bytes"]),
                ("txt", caption(n).encode()),
            ):
                entry = tarfile.TarInfo(f"{n:04d}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return str(path)


def write_parquet(path, splits) -> str:
    rows = [{"image": encoded(make_image(40, 30, seed=n)), "part": split, "n": n} for n, split in enumerate(splits)]
    features = Features({"image": ImageFeature(), "part": Value("string"), "n": Value("int64")})
    Dataset.from_list(rows, features=features).to_parquet(path)
    return str(path)


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_give_the_rows_of_all_files(tmp_path, streaming):
    shards = [write_shard(tmp_path / f"{i}.tar", range(4 * i, 4 * i + 4)) for i in range(2)]
    for source in (shards, str(tmp_path / "*.tar")):
        rows = open_rows(source, image_columns=["png"], streaming=streaming)
        assert [row["txt"] for row in rows] == [caption(n) for n in range(8)]
    expected = np.asarray(make_image(40, 30, seed=5))
    row = list(rows)[5]
    assert np.array_equal(np.asarray(read_image(row["png"])), expected)
    assert not streaming or rows.num_shards == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_column_says_which_rows_are_whose(tmp_path, streaming):
    path = write_parquet(tmp_path / "a.parquet", ["train", "test", "train", "dev"])
    for split, numbers in {"train": [0, 2], "test": [1], "dev": [3]}.items():
        assert [r["n"] for r in open_rows(path, split, split_column="part", streaming=streaming)] == numbers


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("a.parquet", {"split": "validation"}, 'has no split "validation"'),
        ("a.parquet", {"image_columns": ["photo"]}, "has no column photo, only image, part, n"),
        ("a.parquet", {"split_column": "fold"}, "has no column fold"),
        ("none.parquet", {}, "none.parquet cannot be opened"),
        ("none/deeper/folder", {}, "must be a folder"),
        (["a.parquet", "b.tar"], {}, "files of one kind"),
        ("damaged.tar", {"image_columns": ["png"]}, "damaged.tar cannot be opened"),
    ],
)
def test_data_that_does_not_fit_is_refused(tmp_path, monkeypatch, source, options, message):
    write_parquet(tmp_path / "a.parquet", ["train"])
    (tmp_path / "damaged.tar").write_bytes(bytes(range(256)) * 8)
    monkeypatch.chdir(tmp_path)
    for streaming in (False, True):
        with pytest.raises(ValueError, match=message):
            open_rows(source, **options, streaming=streaming)


def test_the_middle_square_is_read_upright(tmp_path):
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "a.png", exif=exif)
    for path in (str(tmp_path / "a.png"), f"file://{tmp_path}/a.png"):
        assert read_image({"bytes": None, "path": path}).size == (20, 60)
        square = read_square({"bytes": None, "path": path}, 16)
        assert square.shape == (16, 16, 3) and (square[4:-4] == (0, 0, 255)).all()


NAMES = ["train_station.png", "my test.png", "val-1.png", "dev/test/d.PNG", "x[1]*.png", "ü.png"]


def fill(folder, names):
    for number, name in enumerate(sorted(names)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make_image(seed=number).save(folder / name, "PNG")


def found(folder, split="train", **options) -> list[str]:
    rows = open_rows(folder, split, **options)
    return [str(Path(row["image"]["path"]).relative_to(folder)) for row in rows]


@pytest.mark.parametrize("names", [NAMES, ["dev/1.png", "train/2.png", "trams/3.png"], ["test/1.png"]])
def test_every_image_of_a_folder_is_used_whatever_its_name(tmp_path, names):
    fill(tmp_path, names)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    for streaming in (False, True):
        assert sorted(found(tmp_path, streaming=streaming)) == sorted(names)


def test_folders_that_are_all_named_by_a_split_are_splits(tmp_path):
    fill(tmp_path, ["training/1.png", "training/deep/test.png", "val/2.png", "eval/3.png"])
    for split, folder, count in (("train", "training", 2), ("validation", "val", 1), ("test", "eval", 1)):
        names = found(tmp_path, split)
        assert {name.split("/")[0] for name in names} == {folder} and len(names) == count


@pytest.mark.parametrize(("kind", "streaming"), [("csv", False), ("jsonl", True), ("parquet", False)])
def test_metadata_describes_the_images_of_its_folder(tmp_path, kind, streaming):
    fill(tmp_path, ["b.png", "a.png", "deep/c.png", "masks/m.png"])
    rows = [
        {"file_name": name, "text": text}
        for name, text in (("b.png", "one"), ("./a.png", "2024"), ("deep/c.png", "a\u2028b"))
    ]
    rows[1] |= {"mask_file_name": "masks/m.png"}
    table = pandas.DataFrame(rows)
    table["mask_file_name"] = table["mask_file_name"].where(table["mask_file_name"].notna(), None)
    options = {"csv": {"index": False}, "jsonl": {"orient": "records", "lines": True, "force_ascii": False}}
    write = {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind]
    write(tmp_path / f"metadata.{kind}", **options.get(kind, {}))
    opened = list(open_rows(tmp_path, image_columns=("image", "mask"), streaming=streaming))
    assert [row["text"] for row in opened] == ["one", "2024", "a\u2028b"]
    assert [row["image"]["path"] for row in opened] == [str(tmp_path / n) for n in ("b.png", "a.png", "deep/c.png")]
    assert [row["mask"] and row["mask"]["path"] for row in opened] == [None, str(tmp_path / "masks" / "m.png"), None]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("csv", "file_name\n0.png\n1.png\n2.png", "2.png"),
        ("csv", "file_name\nhttp://127.0.0.1:9/1.png\n", "127"),
        ("csv", "file_name,text\n1.png,one\n,none\n", r"0\.png"),
        ("csv", "file_name\n0.png\n", r"1\.png"),
        ("csv", "name\n1.png\n", "file_name"),
        ("jsonl", "{", "metadata"),
    ],
)
def test_metadata_that_names_other_files_or_is_no_table_is_refused(tmp_path, kind, text, message):
    fill(tmp_path / "images", ["0.png", "1.png"])
    make_image().save(tmp_path / "1.png")
    (tmp_path / "images" / f"metadata.{kind}").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_rows(tmp_path / "images")


def test_links_to_folders_are_followed_once(tmp_path):
    fill(tmp_path, ["elsewhere/1.png", "photos/2.png"])
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "circle").symlink_to(tmp_path / "photos")
    assert found(tmp_path / "photos") == ["2.png", "link/1.png"]


def test_a_changed_image_changes_what_caches_are_keyed_by(tmp_path):
    fill(tmp_path, ["a.png"])
    first, again = (open_rows(tmp_path)._fingerprint for _ in range(2))
    make_image(50, 50).save(tmp_path / "a.png")
    assert first == again != open_rows(tmp_path)._fingerprint


def test_empty_files_are_no_rows_wherever_they_stand(tmp_path):
    write_parquet(tmp_path / "b.parquet", ["train"])
    write_parquet(tmp_path / "c.parquet", ["train"] * 3)
    table = pyarrow.parquet.read_table(tmp_path / "b.parquet")
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    for names, count in (["b"], 0), (["c", "b", "c"], 6):
        rows = open_rows([tmp_path / f"{name}.parquet" for name in names], streaming=True)
        assert len(list(rows)) == count


@pytest.mark.parametrize("value", [None, {"bytes": None, "path": None}, {"bytes": b"no image", "path": "x.png"}])
def test_images_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match=r"row 3 is (empty|not an image)"):
        read_square(value, 8, "row 3")


@pytest.mark.parametrize("path", ["/etc/passwd", "x.png", "file:///none.png", "http://127.0.0.1:9/x.png", "foo://x"])
def test_paths_of_rows_are_read_only_where_they_are_wanted(path):
    with pytest.raises(ValueError, match=r"row 3 .*path"):
        read_image({"bytes": None, "path": path}, "row 3", paths=False)
    with pytest.raises(ValueError, match=r"row 3|is not an image|is not a file"):
        read_image({"bytes": None, "path": path}, "row 3")

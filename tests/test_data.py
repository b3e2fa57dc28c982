import io
import tarfile

import numpy as np
import pytest
from conftest import encoded, make_image
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from textir_hf.hub.data import open_rows, read_image, read_square


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
def test_a_folder_gives_its_images_and_its_splits(tmp_path, streaming):
    for split, count in (("train", 3), ("validation", 2)):
        (tmp_path / split).mkdir()
        for i in range(count):
            make_image(seed=i).save(tmp_path / split / f"{i}.png")
    counts = [len(list(open_rows(tmp_path, split, streaming=streaming))) for split in ("train", "validation")]
    assert counts == [3, 2]
    row = next(iter(open_rows(tmp_path, streaming=streaming)))
    assert read_image(row["image"]).size == (40, 36)


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_give_the_rows_of_all_files(tmp_path, streaming):
    shards = [write_shard(tmp_path / f"{i}.tar", range(4 * i, 4 * i + 4)) for i in range(2)]
    for source in (shards, str(tmp_path / "*.tar")):
        rows = open_rows(source, image_columns=["png"], streaming=streaming)
        assert [row["txt"] for row in rows] == [caption(n) for n in range(8)]
    expected = np.asarray(make_image(40, 30, seed=5))
    row = list(rows)[5]
    assert np.array_equal(np.asarray(read_image(row["png"])), expected)
    if streaming:
        assert rows.num_shards == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_column_says_which_rows_are_whose(tmp_path, streaming):
    path = write_parquet(tmp_path / "a.parquet", ["train", "test", "train", "dev"])
    numbers = {
        split: [r["n"] for r in open_rows(path, split, split_column="part", streaming=streaming)]
        for split in ("train", "test", "dev")
    }
    assert numbers == {"train": [0, 2], "test": [1], "dev": [3]}
    assert len(list(open_rows([path, path], streaming=streaming))) == 8


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("a.parquet", {"split": "validation"}, 'has no split "validation"'),
        ("a.parquet", {"image_columns": ["photo"]}, "has no column photo, only image, part, n"),
        ("a.parquet", {"split_column": "fold"}, "has no column fold"),
        ("none.parquet", {}, "none.parquet cannot be opened"),
        ("none/deeper/folder", {}, "is no folder"),
        (["a.parquet", "b.tar"], {}, "files of one kind"),
        ("damaged.parquet", {}, "damaged.parquet cannot be opened"),
        ("damaged.tar", {"image_columns": ["png"]}, "damaged.tar cannot be opened"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_data_that_does_not_fit_is_refused(tmp_path, monkeypatch, source, options, message, streaming):
    write_parquet(tmp_path / "a.parquet", ["train"])
    for name in ("damaged.parquet", "damaged.tar"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_rows(source, **options, streaming=streaming)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "row 3 is empty"),
        ({"bytes": None, "path": None}, "row 3 is empty"),
        ({"bytes": b"no image", "path": "x.png"}, "row 3 is no image of a known format"),
        ({"bytes": None, "path": "/none.png"}, "/none.png is no file"),
        ({"bytes": None, "path": "file:///none.png"}, "row 3 cannot be read from file:///none.png"),
    ],
)
def test_images_that_are_none_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        read_square(value, 8, "row 3")


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


def test_sixteen_bits_are_not_clipped():
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(buffer, "PNG")
    assert (read_square({"bytes": buffer.getvalue()}, 4) == 128).all()

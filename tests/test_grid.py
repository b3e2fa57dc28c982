import numpy as np
from conftest import make_image

from textir_hf import sweep


def rows_of(grid, first, cell=40, height=36):
    """The images of every row whose leftmost one is `first`."""
    array = np.asarray(grid)
    found = [y for y in range(len(array) - height) if np.array_equal(array[y : y + height, 6 : 6 + cell], first)]
    steps = range(6, array.shape[1] - cell, cell + 6)
    return [[array[y : y + height, x : x + cell] for x in steps] for y in found]


def test_betas_run_along_the_columns_and_prompts_along_the_rows(pipeline):
    pipe, image = pipeline("super-resolution"), make_image()
    grid = sweep(pipe, image, ["a red flower", "a face"], betas=(0, 0.5, 1), factors=(4,), cell=40)
    rows = rows_of(grid, np.asarray(image))
    assert len(rows) == 2
    for prompt, row in zip(("a red flower", "a face"), rows, strict=True):
        assert len(row) == 4
        for beta, got in zip((0, 0.5, 1), row[1:], strict=True):
            assert np.array_equal(got, np.asarray(pipe.edit(prompt, image, factor=4, beta=beta).images[0]))

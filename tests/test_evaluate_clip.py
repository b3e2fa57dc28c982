import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training import captions
from training.evaluate_clip import PROMPTS, attributes, colors, groups, retrieval

AXES = len(captions.FACE_ATTRIBUTES)


def perfect(*texts: str) -> torch.Tensor:
    """Sentences as the axis of the attribute they affirm; all others at the origin's side."""
    names = list(captions.FACE_ATTRIBUTES)
    affirmed = {prompts[0]: names.index(name) for name, prompts in PROMPTS.items()}
    return torch.stack([torch.eye(AXES)[affirmed[t]] if t in affirmed else torch.zeros(AXES) for t in texts])


@pytest.fixture
def labels():
    return np.random.default_rng(0).choice([-1, 0, 1], (200, AXES))


def test_attributes_that_the_embedding_holds_have_a_full_area(labels):
    faces = torch.from_numpy(labels).float()
    rows = attributes(faces, labels, perfect).rows
    assert rows["smiling"][0].mean == 1.0
    blind = attributes(torch.zeros(200, AXES), labels, perfect).rows
    assert blind["mean of all"][0].mean == 0.5


def test_groups_are_measured_apart_and_small_ones_not_at_all(labels):
    names = list(captions.FACE_ATTRIBUTES)
    faces = torch.from_numpy(labels).float()
    women = labels[:, names.index("male")] < 0
    faces[women, names.index("smiling")] *= -1  # wrong for women alone
    labels[labels[:, names.index("young")] < 0, names.index("hat")] = 0
    table = groups(faces, labels, perfect)
    assert table.columns[0] == f"women ({women.sum()})"
    cells = dict(zip(("women", "men", "young", "old"), table.rows["smiling"], strict=True))
    assert cells["women"].mean == 0.0 and cells["men"].mean == 1.0
    assert table.rows["hat"][3].mean is None and table.rows["male"][0].mean is None


def test_retrieval_counts_the_captions_whose_image_comes_first():
    images = torch.eye(4)
    texts = [["0"], ["1"], ["2"], ["0 again"]]

    def embed(*several: str) -> torch.Tensor:
        return torch.stack([images[int(t[0])] for t in several])

    rows = retrieval(images, texts, embed).rows
    assert rows["text to image R@1"][0].mean == 75.0 and rows["text to image R@5"][0].mean == 100.0


def test_colors_say_on_how_many_images_they_were_measured():
    labels = np.zeros((20, len(captions.OBJECT_LABELS)), int)
    labels[:, : len(captions.COLORS)] = np.where(np.arange(20)[:, None] % 10 == np.arange(10)[None], 1, -1)
    images = F.normalize(torch.from_numpy(labels).float()[:, :10] + 1, dim=1)

    def embed(*several: str) -> torch.Tensor:
        return torch.stack([torch.tensor([float(c in t.split()) for c in captions.COLORS]) for t in several])

    rows = colors(images, labels, embed).rows
    assert rows["red (2 true, 18 false)"][0].mean == 1.0

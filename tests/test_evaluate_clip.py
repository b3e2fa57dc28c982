import numpy as np
import torch

from training.clip_words import FACE_NAMES, WORDS
from training.evaluate_clip import attributes, choices, retrieval

AXES = len(WORDS["lfw"])


def perfect(*texts: str) -> torch.Tensor:
    """Sentences as the axis of the attribute they affirm; all others at the origin's side."""
    names = list(WORDS["lfw"])
    affirmed = {prompts[0]: names.index(name) for name, prompts in WORDS["prompts"].items()}
    return torch.stack([torch.eye(AXES)[affirmed[t]] if t in affirmed else torch.zeros(AXES) for t in texts])


def test_attributes_that_the_embedding_holds_have_a_full_area():
    labels = np.random.default_rng(0).choice([-1, 0, 1], (200, AXES))
    everybody, by_group = attributes(torch.from_numpy(labels).float(), labels, perfect)
    assert everybody.rows["smiling"][0].mean == 1.0 and by_group.rows["smiling"][0].mean == 1.0
    assert by_group.rows["male"][0].mean is None  # all women are
    blind = attributes(torch.zeros(200, AXES), labels, perfect)[0].rows
    assert blind["mean of all"][0].mean == 0.5


def test_retrieval_counts_the_captions_whose_image_comes_first():
    images = torch.eye(4)
    texts = [["0"], ["1"], ["2"], ["0 again"]]

    def embed(*several: str) -> torch.Tensor:
        return torch.stack([images[int(t[0])] for t in several])

    rows = retrieval(images, texts, embed).rows
    assert rows["text to image R@1"][0].mean == 75.0 and rows["text to image R@5"][0].mean == 100.0


def test_choices_weigh_both_sides_the_same_and_leave_out_faces_with_neither_hair():
    names = FACE_NAMES
    labels = np.full((10, len(names)), -1)
    glasses, blond, black = (names.index(n) for n in ("eyeglasses", "blond_hair", "black_hair"))
    labels[9] = 1  # every attribute has both sides; this face has both hairs, so it is left out there
    labels[9, glasses], labels[:2, glasses], labels[:3, blond], labels[3:6, black] = -1, 1, 1, 1
    images = torch.zeros(10, len(names) + 1)
    images[torch.arange(10), torch.where(torch.from_numpy(labels[:, glasses]) > 0, glasses, len(names))] = 1.0
    images[0] = torch.eye(len(names) + 1)[-1]  # one of two with glasses is missed
    images[:3, blond], images[3:6, black], images[6:, blond] = 1.0, 1.0, 1.0

    def embed(*several: str) -> torch.Tensor:
        axes = {"wearing glasses": glasses, "without glasses": len(names), "blond": blond, "black hair": black}
        found = [next((a for word, a in axes.items() if word in text), None) for text in several]
        return torch.stack([torch.zeros(len(names) + 1) if a is None else torch.eye(len(names) + 1)[a] for a in found])

    rows = choices(images, labels, embed).rows
    assert [cell.mean for cell in rows["eyeglasses"]] == [75.0, 50.0, 100.0]
    assert rows["blond hair"][0].mean == 100.0
    labels[9, names.index("hat")] = -1  # no face has one
    rows = choices(images, labels, embed).rows
    assert rows["hat"][0].mean is None and rows["mean of all"][0].mean is not None

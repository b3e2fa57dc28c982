"""Tiny real components: nothing here is a mock, only small."""

import io
import os
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from browser import chromium, page, photo, server, tiny_networks  # noqa: F401  fixtures
from datasets import Dataset, Features, List, Value, disable_progress_bars
from datasets import Image as ImageFeature
from hub_server import TOKEN, Hub
from huggingface_hub import constants, hf_api
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertTokenizerFast, CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf import MiniCLIPConfig, MiniCLIPModel, TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.evaluation import protocols
from textir_hf.tasks import TASKS, get_task
from training.clip import save_encoder
from training.config import TrainingConfig

disable_progress_bars()
SHARED = Path(__file__).parent.parent.parent / "shared"
CARD = "---\nlibrary_name: textir-hf\npipeline_tag: image-to-image\ntags:\n- textir\n---\n# A network\n"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "flower", "face", "smiling", "old", "person"]


if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tiny_generator(task: str = "inpainting", **changes) -> TextIRGenerator:
    sizes = {"sample_size": 32, "channels": (8, 12, 16), "embedding_dim": 32, "style_dim": 8}
    return TextIRGenerator(**get_task(task).network_config() | sizes | changes).eval()


def noisy(pipe: TextIRPipeline) -> TextIRPipeline:
    """The pipeline, with noise that can be seen."""
    for module in pipe.restorer.modules():
        if hasattr(module, "noise_strength"):
            torch.nn.init.constant_(module.noise_strength, 0.5)
    return pipe


def processor(size: int) -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """MiniCLIPModel, its tokenizer and its processor."""
    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    sizes = {"projection_dim": 32, "image_size": 32, "hidden_size": 16, "num_queries": 2, "num_heads": 2}
    config = MiniCLIPConfig(text_config=text, **sizes)
    vocab = tmp_path_factory.mktemp("bert") / "vocab.txt"
    vocab.write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(vocab=str(vocab), model_max_length=12)
    return MiniCLIPModel(config).eval(), tokenizer, processor(32)


@pytest.fixture(scope="session")
def openai_encoder():
    """A CLIPModel of OpenAI's architecture, its tokenizer and its processor."""
    torch.manual_seed(0)
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *[f"{c}</w>" for c in letters], "<|startoftext|>", "<|endoftext|>"]
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = CLIPConfig(
        text_config=small | end | {"vocab_size": len(tokens), "max_position_embeddings": 77},
        vision_config=small | {"image_size": 32, "patch_size": 16},
        projection_dim=32,
    )
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77)
    return CLIPModel(config).eval(), tokenizer, processor(32)


@pytest.fixture(scope="session")
def pipeline(encoder):
    """Makes a tiny pipeline for a task."""

    def make(task: str, parts=None, **changes) -> TextIRPipeline:
        recentering = TextRecentering(32) if parts is None else None
        clip, *others = parts or encoder
        pipe = TextIRPipeline(tiny_generator(task, **changes), deepcopy(clip), *others, recentering)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


@pytest.fixture(scope="session")
def noisy_pipe(pipeline):
    """The tiny pipeline for a task, with noise that can be seen; the same for all tests, which leave it as it is."""
    return cache(lambda task: noisy(pipeline(task)))


def make_image(width: int = 40, height: int = 36, seed: int = 0) -> Image.Image:
    """A smooth random image."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def make_mask(width: int = 40, height: int = 36) -> Image.Image:
    """A mask with a white box in the middle."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 4, height // 4, width // 2, height // 2))
    return mask


@pytest.fixture(autouse=True)
def _accelerate():
    """Accelerate keeps one state for a whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def encoded(image: Image.Image) -> dict:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Eight training and two test images as a parquet file."""
    captions = [["a red flower", "a face"][:: 1 if i % 2 else -1] for i in range(10)]
    path = tmp_path_factory.mktemp("data") / "images.parquet"
    write_test_set(path, [make_image(48, 40, seed=i) for i in range(10)], captions, ["train"] * 8 + ["test"] * 2)
    return str(path)


@pytest.fixture(scope="session")
def clip_folder(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "encoder"
    save_encoder(deepcopy(encoder[0]), encoder[1], encoder[2], folder)
    return str(folder)


@pytest.fixture
def fields(data, clip_folder, tmp_path, tmp_path_factory):
    return {
        **{"task": "inpainting", "dataset": [data], "split_column": "split", "caption_column": "text"},
        **{"output_dir": str(tmp_path / "run"), "clip": clip_folder},
        "cache_dir": str(tmp_path_factory.getbasetemp() / "latents"),
        **{"sample_size": 32, "channels": [4, 6, 8], "style_dim": 8, "discriminator_channels": [4, 8]},
        **{"train_batch_size": 2, "max_train_steps": 4, "embedding_noise": 0.2, "adversarial_start": 1},
        **{"checkpointing_steps": 4, "mask_mix": [0.0, 0.5, 0.5], "log_steps": 1, "lambda_perceptual": 0.0},
        "dataloader_num_workers": 0,
    }


@pytest.fixture
def config(fields):
    return lambda **changes: TrainingConfig(**fields | changes)


def final_state(folder) -> dict[str, torch.Tensor]:
    """All that the last checkpoint of a run holds."""
    last = max(Path(folder).glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    state = {f"{p.name}.{k}": v for p in sorted(last.glob("*.safetensors")) for k, v in load_file(p).items()}
    for path in sorted(last.glob("optimizer*.bin")):
        for index, values in torch.load(path, weights_only=True)["state"].items():
            state |= {f"{path.name}.{index}.{k}": v for k, v in values.items()}
    average = torch.load(last / "custom_checkpoint_1.pkl", weights_only=True)["shadow_params"]
    return state | {f"average.{i}": v for i, v in enumerate(average)}


@pytest.fixture(scope="session")
def lpips_file(tmp_path_factory):
    """LPIPS on AlexNet's shapes, with random weights."""
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights = {f"features.{i}.weight": torch.randn(s) * 0.03 for i, s in shapes.items()}
    weights |= {f"features.{i}.bias": torch.zeros(s[0]) for i, s in shapes.items()}
    weights |= {f"lin{n}.weight": torch.rand(1, s[0], 1, 1) for n, s in enumerate(shapes.values())}
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture(scope="session")
def test_sets(tmp_path_factory):
    """A folder with tiny test sets under the names that the presets read: three test images and a training one each."""
    folder = tmp_path_factory.mktemp("sets")
    images = [make_image(64, 64, seed=i) for i in range(4)]
    for name in (protocols.FACES, protocols.FLOWERS, protocols.CLOTHING):
        write_test_set(folder / name, images)
    write_test_set(folder / protocols.SCENES, images, [["a red flower", "a face"]] * 4)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (8, 8, 40, 36))
    write_test_set(folder / protocols.MASKS, [mask] * 4)
    return folder


def write_test_set(
    path: Path, images: list, captions: list[list[str]] | None = None, splits: list | None = None
) -> None:
    """A parquet file whose last image is a training image, unless splits are given."""
    splits = splits or ["test"] * (len(images) - 1) + ["train"]
    rows = [{"image": encoded(image), "split": split} for image, split in zip(images, splits, strict=True)]
    features = {"image": ImageFeature(), "split": Value("string")}
    if captions is not None:
        features["text"] = List(Value("string"))
        rows = [row | {"text": texts} for row, texts in zip(rows, captions, strict=True)]
    Dataset.from_list(rows, features=Features(features)).to_parquet(path)


@pytest.fixture(scope="session")
def task_checkpoints(encoder, tmp_path_factory):
    """A tiny checkpoint for each task, whose noise can be seen."""
    place = tmp_path_factory.mktemp("checkpoints")
    for task in TASKS:
        noisy(TextIRPipeline(tiny_generator(task), *encoder, TextRecentering(32))).save_pretrained(place / task)
    return place


@pytest.fixture
def command_folder(task_checkpoints, tmp_path, monkeypatch):
    """Checkpoints, images, masks and a place for results; the current folder."""
    for task in TASKS:
        (tmp_path / task).symlink_to(task_checkpoints / task)
    for name in ("images", "masks", "empty"):
        (tmp_path / name).mkdir()
    for i in range(3):
        make_image(seed=i).save(tmp_path / "images" / f"{i}.png")
        make_mask().save(tmp_path / "masks" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def sound(encoder, openai_encoder, tmp_path_factory):
    """Sound checkpoints with their own encoder: `MiniCLIPModel` and `CLIPModel`."""
    folders = {}
    for kind, (clip, *others) in {"own": encoder, "clip": openai_encoder}.items():
        folders[kind] = tmp_path_factory.mktemp("sound") / kind
        pipe = TextIRPipeline(tiny_generator("inpainting"), deepcopy(clip), *others, TextRecentering(32))
        pipe.save_pretrained(folders[kind])
        (folders[kind] / "README.md").write_text(CARD)
    return folders


@pytest.fixture
def folder(pipeline, tmp_path):
    """A checkpoint with its card, fit to be published."""
    pipeline("inpainting").save_pretrained(tmp_path / "folder")
    (tmp_path / "folder" / "README.md").write_text(CARD)
    return tmp_path / "folder"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback, the client pointed at it, and an empty cache."""
    hub = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # keeps the endpoint of its first use
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield hub
    hub.close()

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
from conftest import SHARED, make_image, make_mask
from huggingface_hub import ModelCard
from transformers import CLIPConfig, CLIPModel

from textir_hf import TextIRPipeline
from textir_hf.cli.main import main
from textir_hf.hub.convert import IMAGENET_TEMPLATES, convert
from textir_hf.tasks import get_task

PARTS = ("tokenizer", "image_processor")
needs_fixtures = pytest.mark.skipif(not SHARED.exists(), reason="needs the fixtures of the authors' release")
TASKS = {"inpainting": {"mask_image": make_mask()}, "super-resolution": {"scale": 4}, "colorization": {}}


def fixture(task: str):
    return SHARED / "fixtures" / f"official_{task.replace('-', '_')}_128.pth"


@needs_fixtures
@pytest.mark.parametrize("task", TASKS)
def test_a_converted_folder_restores_images(task, openai_encoder, tmp_path, capsys):
    out = tmp_path / "converted"
    assert main(["convert", str(fixture(task)), "-o", str(out)]) == 0
    digest, card = hashlib.sha256(fixture(task).read_bytes()).hexdigest(), (out / "README.md").read_text()
    assert digest in capsys.readouterr().out and digest in card and "no license" in card
    assert get_task(task).usage in card and ModelCard(card).data.tags == ["textir", task]
    index = json.loads((out / "model_index.json").read_text())
    assert index["encoder"] == "openai/clip-vit-base-patch32" and index["clip"] == [None, None]
    assert index["prompt_templates"] == list(IMAGENET_TEMPLATES) and len(set(IMAGENET_TEMPLATES)) == 80
    clip = CLIPModel(CLIPConfig(**openai_encoder[0].config.to_dict() | {"projection_dim": 512})).eval()
    pipe = TextIRPipeline.from_pretrained(out, clip=clip, **dict(zip(PARTS, openai_encoder[1:], strict=True)))
    pipe.set_progress_bar_config(disable=True)
    results = [
        pipe("a cat", make_image(), output_type="np", **TASKS[task], **o).images[0] for o in ({}, {"templates": ["{}"]})
    ]
    assert results[0].shape[:2] == ((144, 160) if task == "super-resolution" else (36, 40))
    averaged = pipe.encode_prompt([[t.replace("{}", "a cat") for t in IMAGENET_TEMPLATES]], ["{}"])
    torch.testing.assert_close(averaged, pipe.encode_prompt("a cat"))
    if task != "super-resolution":
        assert not np.array_equal(*results)
        with pytest.raises(ValueError, match="skip_strength"):
            pipe("a cat", make_image(), skip_strength=0.5, **TASKS[task])


@needs_fixtures
def test_a_network_that_was_trained_on_aligned_faces_is_told_so(tmp_path, capsys):
    command = ["convert", str(fixture("super-resolution")), "--face-template", "ffhq", "-o", str(tmp_path / "faces")]
    assert main(command) == 0
    config = json.loads((tmp_path / "faces" / "restorer" / "config.json").read_text())
    eyes_and_mouth = [[192.98, 239.95], [318.90, 240.19], [201.26, 371.41], [313.09, 371.15]]  # of FFHQ, at 512
    np.testing.assert_allclose(np.multiply(config["face_template"], 512), eyes_and_mouth, atol=0.01)
    assert main(["convert", str(fixture("colorization")), *command[2:-1], str(tmp_path / "gray")]) == 2
    assert "face_template" in capsys.readouterr().err


@needs_fixtures
def test_what_is_no_such_checkpoint_is_refused(tmp_path):
    source, out = fixture("inpainting"), tmp_path / "out"

    def refused(message, path):
        with pytest.raises(ValueError, match=message):
            convert(path, out)
        assert not out.exists() and not list(tmp_path.glob(".textir-*"))

    refused("is not a file", tmp_path / "none.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"params_ema": print}))
    refused("cannot be read as tensors alone", tmp_path / "evil.pth")

    def changed(message, change):
        content = torch.load(source, weights_only=True)
        change(content["params_ema"])
        torch.save(content, tmp_path / "changed.pth")
        refused(message, tmp_path / "changed.pth")

    changed(r"to_rgbs\.0\.bias", lambda state: state.pop("to_rgbs.0.bias"))
    changed('has no state dict "params_ema"', lambda state: state.update(more="x"))
    changed("must have the shape", lambda state: state.update({"to_rgbs.0.bias": torch.zeros(7)}))

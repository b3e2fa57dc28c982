"""Makes the model cards from their template, the facts below, and the reports in `results/`.

Each lies here and, ready to be published, in its checkpoint's folder.

python -m model_cards.make          # or: make cards
python -m model_cards.make --check  # fails if a card is not what would be made
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from textir_hf.clip import CHECKPOINTS
from textir_hf.evaluation.tables import Table, markdown, read_tables

HERE = Path(__file__).parent
_FACES = ("GAN-made portraits (GitHub `hmdghoul/generated-faces`)", "3,791", "no licence stated")
_FLICKR = ("Flickr8k", "7,102", "research only")
_LFW = ("LFW face crops with machine-made attribute scores", "12,222", "research only")
_FLOWERS = ("TensorFlow `flower_photos`", "3,363", "CC-BY")
_CLOTHES = ("`alexeygrigorev/clothing-dataset-small`", "3,486", "CC0")
_MASKS = ("NVIDIA irregular masks", "1,200", "CC BY-NC-SA")
_GENERATOR = (
    "Trained from scratch on image embeddings of `textir-mini-clip`, without captions, by the commands in "
    "[training/README.md](../training/README.md): L1, a feature loss on EfficientNet-Lite0, then a CLIP loss and a "
    "discriminator. Texts are recentred to where the image embeddings lie (`TextRecentering`)."
)
_SEED = "- It was trained without noise: a seed changes nothing, and there are no variants of a result."
_PORTRAITS = (
    "- It knows front-facing portraits whose face fills the picture; anything else comes out blurred or strange."
)

CARDS = {
    "textir-mini-clip": {
        "summary": "A dual encoder for images and sentences, with the interface of `transformers.CLIPModel`: the "
        "condition of the textir-mini generators.",
        "does": "It embeds a picture of any shape (the middle square at 192x192 pixels) and a sentence of at most 77 "
        "tokens into one space of 512 dimensions. Image tower: EfficientNet-Lite0 at five scales, read out by attention. "
        "Text tower: MiniLM.",
        "usage": "from textir_hf.clip import embed_texts, load_encoder\n\n"
        'clip, tokenizer, image_processor = load_encoder("textir-mini-clip")\n'
        'embeddings = embed_texts(clip, tokenizer, ["a red flower", "a smiling woman"])  # [2, 512]',
        "training": "The towers are EfficientNet-Lite0 trained on ImageNet and the sentence encoder `all-MiniLM-L6-v2` "
        "(both Apache-2.0), frozen; the pooling and projections above them were trained for 800 steps of 1,024 pairs, in "
        "about 15 minutes on two CPU cores. Sentences about faces, flowers and clothing are made from labels, colour "
        "words are measured from the pixels.",
        "data": (_FLICKR, _LFW, _FLOWERS, _CLOTHES),
        "protocol": "Retrieval over all test captions; areas under the ROC curve of a prompt against its contrary. Labels "
        "of faces and colours are machine-made; green, brown and purple have few true pictures.",
        "limits": "- It understands the words of its captions: attributes of faces, kinds of flower and clothing, "
        "colours, simple scenes. Counts, positions, negations and names mean nothing to it.",
        "tag": "feature-extraction",
    },
    "textir-mini-inpainting": {
        "summary": "Fills holes in portraits as a sentence says.",
        "does": "Given a portrait, a mask and a sentence, it repaints the masked pixels; all others come back bit for bit.",
        "usage": "from textir_hf import TextIRPipeline\n\n"
        'pipe = TextIRPipeline.from_pretrained("textir-mini-inpainting")\n'
        'filled = pipe("a smiling woman", image, mask_image=mask, box="face").images[0]',
        "training": _GENERATOR,
        "data": (_FACES, _MASKS),
        "protocol": "Test portraits under irregular test masks that cover 10 to 40 %; PSNR inside the hole alone, LPIPS "
        "(AlexNet) of the whole picture. The condition is the target's own image embedding, the most that a sentence could "
        "say, or one fixed sentence.",
        "limits": f"{_PORTRAITS}\n- It sees 64 pixels: what fills a large hole is soft, with a visible border, and text moves it less than one would wish.\n{_SEED}",
        "tag": "image-to-image",
    },
    "textir-mini-super-resolution": {
        "summary": "Enlarges portraits as a sentence says.",
        "does": "It enlarges a small portrait 2 to 64 times, adding what is missing as the sentence says.",
        "usage": "from textir_hf import TextIRPipeline\n\n"
        'pipe = TextIRPipeline.from_pretrained("textir-mini-super-resolution")\n'
        'large = pipe("a man with glasses", image, scale=8).images[0]',
        "training": _GENERATOR,
        "data": (_FACES,),
        "protocol": "Test portraits shrunk bicubically and rounded to 8 bits; PSNR and LPIPS (AlexNet) of the whole "
        "picture. The condition is the target's own image embedding, or one fixed sentence.",
        "limits": f"{_PORTRAITS}\n- Enlarging more than eight times stays blurred; at 4x its PSNR is below bicubic "
        f"enlargement's.\n{_SEED}",
        "tag": "image-to-image",
    },
    "textir-mini-colorization": {
        "summary": "Gives colour to grey photos as a sentence says.",
        "does": "It predicts colours for a grey photo and joins them with the photo's own full-size lightness.",
        "usage": "from textir_hf import TextIRPipeline\n\n"
        'pipe = TextIRPipeline.from_pretrained("textir-mini-colorization")\n'
        'coloured = pipe("a red flower", image).images[0]',
        "training": _GENERATOR,
        "data": (_FLICKR, _FLOWERS, _CLOTHES),
        "protocol": "Test flowers under three colour words: the mean a and b of CIE Lab, and how often the picture made for "
        "a word goes further in its direction than those for the other two.",
        "limits": f"- A colour word also tints what surrounds the object.\n{_SEED}",
        "tag": "image-to-image",
    },
}
_METRICS = {"hole PSNR (dB)": "psnr", "PSNR (dB)": "psnr", "LPIPS": "lpips", "measured (%)": "recall"}


def eval_results(tables: list[Table], task: str) -> list[EvalResult]:
    """The checkpoint's own figures as metadata."""
    results = []
    for table in tables:
        for method, cells in table.rows.items():
            if method.startswith(("OpenCV", "bicubic")):
                continue
            for column, cell in zip(table.columns, cells, strict=True):
                if column in ("true", "false"):
                    continue
                results.append(
                    EvalResult(
                        task_type=task,
                        dataset_type="textir-mini-test",
                        dataset_name=table.title,
                        metric_type=_METRICS.get(column, "auc" if "AUC" in table.title else "shift"),
                        metric_name=f"{method}: {column}",
                        metric_value=round(cell.mean, table.digits),
                    )
                )
    return results


def make_card(name: str) -> str:
    """The text of a card."""
    facts, path = CARDS[name], HERE / "results" / f"{name}.json"
    picture = f"samples/{name}.jpg" if (HERE / "samples" / f"{name}.jpg").is_file() else None
    report, tables = json.loads(path.read_text()), read_tables(path)
    data = ModelCardData(
        model_name=name,
        library_name="diffusers" if facts["tag"] == "image-to-image" else "transformers",
        pipeline_tag=facts["tag"],
        license="other",
        license_name="research-use-only",
        tags=["textir", name.removeprefix("textir-mini-")],
        metrics=sorted({result.metric_type for result in eval_results(tables, facts["tag"])}),
        eval_results=eval_results(tables, facts["tag"]),
        **({"widget": [{"text": facts["summary"], "output": {"url": picture}}]} if picture else {}),
    )
    files = sorted((CHECKPOINTS / name).rglob("*.safetensors"))
    megabytes = sum(f.stat().st_size for f in files) / 1e6
    card = ModelCard.from_template(
        data,
        template_path=str(HERE / "template.md"),
        name=name,
        picture=picture,
        size=f"Its files have {megabytes:.1f} MB in fp16{_trained_size(name)}.",
        versions=", ".join(f"{package} {version}" for package, version in report["versions"].items()),
        report=report,
        report_name=f"results/{name}.json",
        tables="\n\n".join(markdown(t) for t in tables),
        **{k: facts[k] for k in ("summary", "does", "usage", "training", "data", "protocol", "limits")},
    )
    return str(card).rstrip() + "\n"


def _trained_size(name: str) -> str:
    config = CHECKPOINTS / name / "restorer" / "config.json"
    if not config.is_file():
        return ""
    size = json.loads(config.read_text())["sample_size"]
    return f", and it was trained at {size}x{size} pixels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    stale = []
    for name in CARDS:
        path, text = HERE / f"{name}.md", make_card(name)
        copies = [path, CHECKPOINTS / name / "README.md"]
        if args.check:
            stale += [str(p) for p in copies if not p.is_file() or p.read_text() != text]
            continue
        for copy in copies:
            copy.write_text(text)
        for part in (f"samples/{name}.jpg", f"results/{name}.json"):
            if (HERE / part).is_file():
                (CHECKPOINTS / name / part).parent.mkdir(exist_ok=True)
                shutil.copy(HERE / part, CHECKPOINTS / name / part)
    if stale:
        sys.exit(f"error: {', '.join(stale)} differ from what would be made: run make cards.")


if __name__ == "__main__":
    main()

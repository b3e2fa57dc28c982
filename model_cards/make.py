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

from textir_hf.evaluation.tables import Table, markdown, read_tables
from textir_hf.models.embedding import CHECKPOINTS

HERE = Path(__file__).parent
_FACES = ("GAN-made portraits (GitHub `hmdghoul/generated-faces`)", "3,791", "no license stated")
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
_SEED = "- It has learnt next to no noise: a seed changes next to nothing, and there are no variants of a result."
_PORTRAITS = (
    "- It knows front-facing portraits whose face fills the picture; anything else comes out blurred or strange."
)

_PROTOCOL = (
    "The right prompt is a sentence chosen by the dual encoder, or the picture's captions; the shuffled one is another "
    "picture's; the image embedding is the target's own, the most that a sentence could say. LPIPS is on AlexNet. Text "
    "effect: under two contrary sentences, how often the result lies nearer to its own sentence (50 % is chance), and how "
    "often nearer to it than the result for the contrary (0 to 100 %, no effect gives 50 %); once by the sentences, once by "
    "the mean image embedding of other pictures that fit them. It is judged by the dual encoder that also guided training."
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
        "about 15 minutes on two CPU cores. Sentences about faces, flowers and clothing are made from labels, color "
        "words are measured from the pixels.",
        "data": (_FLICKR, _LFW, _FLOWERS, _CLOTHES),
        "protocol": "Retrieval over all test captions; areas under the ROC curve of a prompt against its contrary. Labels "
        "of faces and colors are machine-made; green, brown and purple have few true pictures.",
        "limits": "- It understands the words of its captions: attributes of faces, kinds of flower and clothing, "
        "colors, simple scenes. Counts, positions, negations and names mean nothing to it.",
        "tag": "feature-extraction",
    },
    "textir-mini-inpainting": {
        "summary": "Fills holes in portraits as a sentence says.",
        "does": "Given a portrait, a mask and a sentence, it repaints the masked pixels; all others come back bit for bit.",
        "usage": "from textir_hf import TextIRPipeline\n\n"
        'pipe = TextIRPipeline.from_pretrained("textir-mini-inpainting")\n'
        'filled = pipe("a smiling woman", image, mask_image=mask, box="face").images[0]',
        "training": f"{_GENERATOR} First a network for 64 pixels, 4,486 steps in 34 minutes; then grown to 128 pixels, 7,676 "
        "steps in 95 minutes, on two CPU cores. Then two runs of 5,754 and 7,751 steps, some 70 minutes of one core each, one "
        "of them without a discriminator, in which up to two pictures in ten were restored towards another picture's "
        "embedding or a sentence; the one started from the mean of these weights and of others trained 2,684 steps in that "
        "way. The weights are the mean of both runs and, twice, of the weights before.",
        "data": (_FACES, _MASKS),
        "protocol": "Test portraits under irregular test masks that cover 10 to 40 %, and under boxes of 30 to 60 % of each "
        f"side. {_PROTOCOL}",
        "limits": f"{_PORTRAITS}\n- Text moves a hole's content less than one would wish: hair, smile, sex and glasses, but not "
        "every time enough to see. Beards, hats and rare looks are beyond it, and a hole over half a face shows its "
        f"border.\n{_SEED}",
        "tag": "image-to-image",
    },
    "textir-mini-super-resolution": {
        "summary": "Enlarges portraits as a sentence says.",
        "does": "It enlarges a small portrait 2 to 64 times, adding what is missing as the sentence says.",
        "usage": "from textir_hf import TextIRPipeline\n\n"
        'pipe = TextIRPipeline.from_pretrained("textir-mini-super-resolution")\n'
        'large = pipe("a man with glasses", image, scale=8).images[0]',
        "training": f"{_GENERATOR} It started from textir-mini-inpainting, whose knowledge of faces it took over; "
        "2,188 steps in 20 minutes on two CPU cores, then 1,829 steps in an hour, three pictures in ten towards another "
        "picture's embedding or a sentence, on one core that did other work besides.",
        "data": (_FACES,),
        "protocol": f"Test portraits shrunk bicubically and rounded to 8 bits. {_PROTOCOL}",
        "limits": f"{_PORTRAITS}\n- It draws the faces that it knows: at 16 times and more the result is a likeness of the "
        f"training portraits, not of the person, and fine texture is missing at any factor.\n{_SEED}",
        "tag": "image-to-image",
    },
    "textir-mini-colorization": {
        "summary": "Gives color to gray photos as a sentence says.",
        "does": "It predicts colors for a gray photo and joins them with the photo's own full-size lightness.",
        "usage": "from textir_hf import TextIRPipeline\n\n"
        'pipe = TextIRPipeline.from_pretrained("textir-mini-colorization")\n'
        'colored = pipe("a red flower", image).images[0]',
        "training": f"{_GENERATOR} 2,009 steps in 16 minutes on two CPU cores. From there two runs "
        "of 2,351 and 1,891 steps, 75 and 62 minutes of one core beside other work, in which two pictures in five that show an "
        "object apart from its surroundings had that object in another color; in one of them three pictures in twenty also "
        "had another picture's embedding or a sentence. The weights are the mean of both. The colors are then multiplied by 1.3, chosen on training pictures: what the network "
        "predicts is a mean over likely colors, and so too pale.",
        "data": (_FLICKR, _FLOWERS, _CLOTHES),
        "protocol": f"100 test pictures each of flowers, clothing and scenes. {_PROTOCOL} Color words: the result under the "
        "word against that under the sentence without it; hue of the middle of the picture, and how far the middle and the "
        "outer tenth move towards the word in CIE Lab.",
        "limits": "- A color word also tints what surrounds the object, yellow and green most; what is too dark or too bright "
        f"for the color stays as it is.\n{_SEED}",
        "tag": "image-to-image",
    },
}
_METRICS = {
    "PSNR (dB)": "psnr",
    "SSIM": "ssim",
    "LPIPS": "lpips",
    "hole PSNR (dB)": "psnr",
    "hole SSIM": "ssim",
    "hole LPIPS": "lpips",
    "CLIP score": "clip_score",
    "measured (%)": "recall",
    "nearer to its sentence than to the contrary (%)": "text_effect",
    "nearer than the contrary's picture (%)": "text_effect",
}
_CURVES = ("beta", "strength", "factor")


def shown(tables: list[Table]) -> list[Table]:
    """The tables that a card has; curves are a picture, and the hole sizes are in the report."""
    return [t for t in tables if t.title.split(",")[0] not in _CURVES and "by the hole's share" not in t.title]


def eval_results(tables: list[Table], task: str) -> list[EvalResult]:
    """The checkpoint's own figures as metadata."""
    results = []
    for table in shown(tables):
        for method, cells in table.rows.items():
            if "LPIPS" in table.columns and not method.startswith("ours"):
                continue
            for column, cell in zip(table.columns, cells, strict=True):
                metric = _METRICS.get(column, "auc" if "AUC" in table.title else None)
                if metric is None or cell.mean is None:
                    continue
                results.append(
                    EvalResult(
                        task_type=task,
                        dataset_type="textir-mini-test",
                        dataset_name=table.title,
                        metric_type=metric,
                        metric_name=f"{method}: {column}",
                        metric_value=round(cell.mean, table.digits),
                    )
                )
    return results


def make_card(name: str) -> str:
    """The text of a card."""
    facts, path = CARDS[name], HERE / "results" / f"{name}.json"
    picture = _found(f"samples/{name}.jpg")
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
        tables="\n\n".join(markdown(t) for t in shown(tables)),
        curves=_found(f"samples/{name}-curves.png"),
        **{k: facts[k] for k in ("summary", "does", "usage", "training", "data", "protocol", "limits")},
    )
    return str(card).rstrip() + "\n"


def _found(part: str) -> str | None:
    return part if (HERE / part).is_file() else None


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
        for part in (f"samples/{name}.jpg", f"samples/{name}-curves.png", f"results/{name}.json"):
            if (HERE / part).is_file():
                (CHECKPOINTS / name / part).parent.mkdir(exist_ok=True)
                shutil.copy(HERE / part, CHECKPOINTS / name / part)
    if stale:
        sys.exit(f"error: {', '.join(stale)} differ from what would be made: run make cards.")


if __name__ == "__main__":
    main()

"""Trains the dual encoder from pretrained towers, stage by stage; a finished stage is not done again.

    python -m training.encoder.run --data DIR --folder runs/encoder --output runs/encoder/textir-mini-clip

1. `distill`: the text tower, with a trimmed vocabulary, learns the space of a larger text model and to read facts.
2. `warm`: the heads of both towers learn above the frozen backbones.
3. `tune`: the late stages of the image backbone learn with them. The average of the weights is written.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from textir_hf.atomic import replacing
from training.encoder import faces, objects
from training.encoder.data import FACES, OBJECTS, SCENES, ImageSet, face_labels, object_labels
from training.encoder.distill import Distillation, DistillationConfig, PairSentences
from training.encoder.files import initial_encoder, save_encoder
from training.encoder.pairs import Pair, to_matrix
from training.encoder.sources import CaptionSource, LabeledSource, Source
from training.encoder.teacher import TEACHER, recombined, teacher_features
from training.encoder.texts import FrozenTexts, all_features
from training.encoder.tune import Tuner, TuningConfig
from training.encoder.vocabulary import trim, words_of

WARM = TuningConfig(
    steps=250, sizes=(256, 192, 96), weights=(1, 1, 1), first_stage=7, image_rate=1e-3, text_rate=1e-3, warmup=50
)
TUNE = TuningConfig()
LOG_SCALE = 3.0  # logarithm of the inverse temperature at the start
FAVORED = ("male", "young", "smiling", "eyeglasses", "bald", "hat", "beard", "bangs", "blond_hair", "black_hair")


@dataclass
class Corpus:
    """All sentences of a run.

    Args:
        sources: "scenes" has captions, "faces" and "objects" have pairs.
        sentences: The captions row by row, then both texts of every pair.
        extra: Sentences for distillation only.
        groups: The pairs' sentences and what they state.
        learned: Numbers of all sentences, `extra` included, but the captions of test and held-out images.
    """

    sources: dict[str, Source]
    sentences: list[str]
    extra: list[str]
    groups: list[PairSentences]
    learned: np.ndarray


def read_corpus(data: Path, held_out: float, face_pairs: int = 400, object_pairs: int = 200) -> Corpus:
    """Opens the images and writes the sentences about them.

    Args:
        data: Folder of the parquet files.
        held_out: Share of the training rows that are left out.
        face_pairs: Pairs of sentences for every attribute of faces.
        object_pairs: Pairs for every color and kind of objects.
    """
    scenes = ImageSet(data, SCENES, held_out)
    captions = scenes.column("text")
    source = CaptionSource(scenes, captions, 0)
    learned = np.concatenate([source.numbers[row] for row in scenes.train])
    sentences = [caption for several in captions for caption in several]
    corpus = Corpus({"scenes": source}, list(sentences), [], [], learned)
    images, pairs, first = ImageSet(data, FACES, held_out), faces.pairs(face_pairs), len(corpus.sentences)
    corpus.sources["faces"] = LabeledSource(images, face_labels(images), pairs, first, faces.NAMES, FAVORED)
    _add_pairs(corpus, pairs, faces.NAMES)
    images, pairs, first = ImageSet(data, OBJECTS, held_out), objects.pairs(object_pairs), len(corpus.sentences)
    labels = object_labels(images)
    corpus.sources["objects"] = LabeledSource(images, labels, pairs, first, objects.NAMES, least_crop=0.6)
    _add_pairs(corpus, pairs, objects.NAMES)
    corpus.extra = recombined([caption for row in scenes.train for caption in captions[row]])
    others = np.arange(len(sentences), len(corpus.sentences) + len(corpus.extra))
    corpus.learned = np.concatenate([learned, others])
    return corpus


def _add_pairs(corpus: Corpus, pairs: list[Pair], names: tuple[str, ...]) -> None:
    first = len(corpus.sentences)
    corpus.sentences += [text for pair in pairs for text in pair.texts]
    facts = to_matrix([facts for pair in pairs for facts in pair.statements], names)
    corpus.groups.append(PairSentences(np.arange(first, len(corpus.sentences)), facts))


class Run:
    """One run: its corpus, its towers and the stages.

    Args:
        corpus: What it learns from.
        folder: Of everything that the run keeps.
        device: Where it learns.
    """

    def __init__(self, corpus: Corpus, folder: Path, device: torch.device | str = "cpu") -> None:
        self.corpus, self.folder, self.device = corpus, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        self.texts = corpus.sentences + corpus.extra
        self.model, tokenizer, self.image_processor = initial_encoder()
        bert = self.model.text_tower.bert
        words = words_of(self.texts[n] for n in corpus.learned)
        self.tokenizer, rows = trim(tokenizer, bert.get_input_embeddings().weight.data, words)
        bert.resize_token_embeddings(len(self.tokenizer)).weight.data.copy_(rows)
        self.model.config.text_config.vocab_size = len(self.tokenizer)
        self.token_ids = self.tokenizer(self.texts, truncation=True)["input_ids"]
        self.model.to(device)

    def distill(self, teacher: str, config: DistillationConfig) -> FrozenTexts:
        """Trains the text tower's BERT; the features of all sentences."""
        tower, path = self.model.text_tower, self.folder / "distilled.pt"
        if not path.exists():
            targets = teacher_features(self.texts, self.folder / "teacher.npz", teacher, self.device)
            distillation = Distillation(tower, self.token_ids, targets, config)
            distillation.learn_space(self.corpus.learned)
            distillation.learn_facts(self.corpus.learned, self.corpus.groups)
            features = all_features(tower, self.token_ids[: len(self.corpus.sentences)])
            with replacing(path) as temporary:
                torch.save({"bert": tower.bert.state_dict(), "features": features}, temporary)
        state = torch.load(path, map_location=self.device, weights_only=True)
        tower.bert.load_state_dict(state["bert"])
        return FrozenTexts(tower, state["features"])

    def tune(
        self, name: str, texts: FrozenTexts, config: TuningConfig, log_scale: Tensor, max_minutes: float = math.inf
    ) -> Tensor:
        """Trains the image tower and the head of `texts`, and leaves the average of their weights in them.

        Args:
            name: Of the stage.
            texts: All sentences.
            config: Options of the stage.
            log_scale: Logarithm of the inverse temperature to begin with.
            max_minutes: Ends the stage early; called again, it goes on.

        Returns:
            The learned logarithm of the inverse temperature.
        """
        tuner = Tuner(self.model.image_tower, texts, self.corpus.sources, config, self.folder / name, log_scale)
        tuner.resume()
        tuner.run(max_minutes)
        tuner.swap()
        return tuner.log_scale.detach()

    def write(self, log_scale: Tensor, output: Path) -> None:
        """Writes the complete checkpoint, in fp16."""
        self.model.logit_scale.data.copy_(log_scale)
        save_encoder(self.model.cpu().eval(), self.tokenizer, self.image_processor, output)
        print(f"Wrote {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--folder", type=Path, required=True, help="where the stages are kept")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--teacher", default=TEACHER, help="folder, or name on the Hub, of the larger text model")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the training rows to choose runs by")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode and vary images")
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="of the last stage; later calls go on")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    run = Run(read_corpus(args.data, args.held_out), args.folder, device)
    texts = run.distill(args.teacher, DistillationConfig())
    log_scale = run.tune("warm", texts, replace(WARM, workers=args.workers), torch.tensor(LOG_SCALE))
    log_scale = run.tune("tune", texts, replace(TUNE, workers=args.workers), log_scale, args.max_minutes)
    run.write(log_scale, args.output)


if __name__ == "__main__":
    main()

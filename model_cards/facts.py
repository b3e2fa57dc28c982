"""What the cards of the embedded checkpoints say besides figures: one entry a checkpoint."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """The prose of a card.

    Args:
        summary: One sentence.
        does: Input and output.
        training: How the weights were made.
        data: Name, number of training images and terms of each data set.
        protocol: What was measured, and how.
        limits: What it cannot do, as Markdown items.
        groups: What is known of its figures for groups of people.
        task: Of the checkpoint; None for the dual encoder.
        usage: Python code, for a checkpoint without a task.
        hint: What a reader of the usage should know.
    """

    summary: str
    does: str
    training: str
    data: tuple[tuple[str, str, str], ...]
    protocol: str
    limits: tuple[str, ...]
    groups: str
    task: str | None = None
    usage: str = ""
    hint: str = ""


_FACES = ("GAN-made portraits (GitHub `hmdghoul/generated-faces`)", "3,791", "no license stated")
_FLICKR = ("Flickr8k", "7,102", "research only")
_CELEBA = ("CelebA faces with attributes labeled by people", "9,216", "non-commercial research")
_UTK = ("UTKFace faces of adults with age and sex labeled by people", "7,504", "research only")
_FLOWERS = ("TensorFlow `flower_photos`", "3,363", "CC-BY")
_CLOTHES = ("`alexeygrigorev/clothing-dataset-small`", "3,486", "CC0")
_OBJECTS = ("Imagenette, ten kinds of objects", "1,819", "ImageNet's terms, research only")
_MASKS = ("NVIDIA irregular masks", "1,200", "CC BY-NC-SA")

_GENERATOR = (
    "Trained from scratch on image embeddings of `textir-mini-clip`; captions of the images joined in the last runs. The losses are L1 and a feature "
    "loss on EfficientNet-Lite0, later also a CLIP loss and a discriminator. `training/README.md` in the project's "
    "repository has the commands. `TextRecentering` moves text embeddings to where the image embeddings lie."
)
_WIDER = (
    "Then the network was widened from 32, 32, 64, 128 and 192 channels to 32, 48, 96, 192 and 320, without a change of what "
    "it does, and learned from portraits and real faces, all but 12 of each, on one CPU core, with a projected discriminator "
    "and VGG16's perceptual loss:"
)
_CAPTIONS = (
    "In the last run, four images in ten were restored under a sentence about them, from labels by people and from what the "
    "dual encoder sees, and the real faces came in other frames, too:"
)
_REFIT = (
    "The style layer was then refitted to today's dual encoder, by 1,000 images and 1,919 sentences in both encoders' "
    "embeddings."
)
_PROTOCOL = (
    "The right prompt is a caption of the image or, where there is none, a sentence that the dual encoder chooses. The "
    "shuffled prompt is another image's. The image embedding is the original's own: the most that a sentence could say. "
    "LPIPS is on AlexNet.\n\n"
    "The text effect is measured with two contrary sentences. The first column says how often a result lies nearer to its "
    "own sentence than to the contrary one (50 % is chance). The second says how often it lies nearer to its own sentence "
    'than the result for the contrary one does (50 % is chance). Rows named "images" use the mean embedding of other images '
    "in the sentence's place. The judge is the dual encoder that also guided training, so these figures are favorable."
)
_FACES_NOTE = (
    "Noise is that of seed 0, as in a call without a generator. The judge calls nearly all of these portraits smiling, so the "
    "first column says little of smiles."
)
_PORTRAITS = "It knows front-facing portraits whose face fills the image. Anything else comes out blurred or strange."
_SEED = "It has learned next to no noise: a seed changes next to nothing, and a result has no variants."
_FINE_SEED = "A seed changes fine structure alone, by two to three levels of 255, and no result has real variants."
_GROUPS = (
    "Its training portraits are made by a GAN and favor some groups of people; its real faces are of many groups. Faces of men, "
    "of black people and of people from 52 years on are restored less well than others."
)
_BY_GROUP = (
    "By group, from `python -m model_cards.groups`: 393 real test faces, cut tightly, with sex, age and group labeled by people (UTKFace). The sentence says sex and, "
    'up to 32 and from 52 years on, young or old. One column says how often results for "a man" and "a woman" lie nearer '
    'to their own sentence, the last how often the result for "an old person" looks older than that for "a young person".'
)
_FACE_HINT = 'In a photo of a person, add `faces="auto"`.'
_PHOTO_HINT = 'In a photo of a person, add `faces="auto"`, and `background="restored"` where it is a portrait.'

FACTS: dict[str, Facts] = {
    "textir-mini-clip": Facts(
        summary="A dual encoder for images and sentences, with the interface of `transformers.CLIPModel`. It makes the "
        "condition of the textir-mini generators.",
        does="It embeds an image of any shape (the center square at 192x192 pixels) and a sentence of at most 77 tokens "
        "into one space of 512 dimensions. The image tower is EfficientNet-Lite0 at five scales, read out by attention. "
        "The text tower is MiniLM.",
        usage="from textir_hf.models.embedding import embed_texts, load_encoder\n\n"
        'clip, tokenizer, image_processor = load_encoder("textir-mini-clip")\n'
        'embeddings = embed_texts(clip, tokenizer, ["a red flower", "a smiling woman"])  # [2, 512]',
        training="The towers are EfficientNet-Lite0 trained on ImageNet and the sentence encoder `all-MiniLM-L6-v2` (both "
        "Apache-2.0), with 23,879 of its word pieces. The sentence encoder first learned the space of `all-mpnet-base-v2` "
        "(Apache-2.0) and to read the facts that sentences about faces and objects state: 1,736 steps of 256 sentences and 300 "
        "more. Then the heads of both towers learned for 250 steps of 544 images, and with them the image tower from its "
        "fourth stage on for 1,258 steps of 192 images. In all it took six minutes of one H200. Sentences about faces "
        "come from labels by people, both sides of each attribute equally often; colors of objects are measured from the "
        "pixels. 3 % of the training images were held out.",
        data=(_FLICKR, _CELEBA, _UTK, _FLOWERS, _CLOTHES, _OBJECTS),
        protocol="Retrieval over all test captions, and areas under the ROC curve (AUC) of a prompt against its contrary. "
        "Labels of LFW's faces and of colors are machine-made, those of CelebA's faces by people. Green, brown and purple have "
        "few true images.",
        limits=(
            "It understands the words of its captions: attributes of faces, kinds of flowers, clothing and some objects, "
            "colors, simple scenes. It does not understand counts, positions and names, and of negations only those about "
            'faces, such as "without glasses".',
            "It calls many old people young, and nearly all of the GAN-made portraits smiling: 100 of 100 that were tried, "
            "serious ones among them.",
        ),
        groups="Its images of people are photos of celebrities, of faces from the web and from a photo site, and favor some groups. The table by group above "
        "compares women with men and young with old faces; most of the test faces are men.",
    ),
    "textir-mini-inpainting": Facts(
        task="inpainting",
        summary="Repaints masked regions of portraits as a sentence says.",
        does="It takes a portrait, a mask and a sentence, and repaints the masked pixels. All others come back bit for bit.",
        hint=_FACE_HINT,
        training=f"{_GENERATOR}\n\nA network for 64 pixels came first, 4,486 steps in 34 minutes. It was grown to 128 pixels, "
        "7,676 steps in 95 minutes, on two CPU cores. Two runs of 5,754 and 7,751 steps followed, about 70 minutes of one core "
        "each. In them, up to two images in ten were restored towards another image's embedding or a sentence; one run had no "
        "discriminator, and the other started from the mean of these weights and of others trained 2,684 steps in that way. "
        "The mean of both runs and, counted twice, of the weights before then learned for 181 steps of 8 from a projected "
        f"discriminator that sees the mask. {_REFIT} {_WIDER} "
        "2,881 steps of 8 images in 107 minutes. Two fifths of the result and three fifths of what it began with went on. "
        f"{_CAPTIONS} 3,200 steps of 8 images in 77 minutes of one CPU core, and 700 more in 16 minutes with the real faces "
        "near the portraits' frame alone.",
        data=(_FACES, _UTK, _MASKS),
        protocol="120 test portraits under irregular test masks that cover 10 to 40 % of the image, and under boxes of 30 to 60 % "
        f"of each side. {_PROTOCOL} {_FACES_NOTE}\n\n{_BY_GROUP}",
        limits=(
            _PORTRAITS,
            "The text moves hair, smile and sex, but not every time enough to see. Glasses, beards, hats and rare looks are "
            "beyond it.",
            "Its colors are fitted to those around the mask, so a mask over half a face keeps the light and the skin of the "
            "other half.",
            _FINE_SEED,
        ),
        groups=_GROUPS,
    ),
    "textir-mini-super-resolution": Facts(
        task="super-resolution",
        summary="Upscales portraits as a sentence says.",
        does="It upscales a small portrait 2 to 64 times and adds what is missing as the sentence says.",
        hint=_PHOTO_HINT,
        training=f"{_GENERATOR}\n\nIt started from textir-mini-inpainting. 2,188 steps took 20 minutes on two CPU cores. 1,829 "
        "more steps took an hour of one core beside other work; in them, three images in ten were restored towards another "
        "image's embedding or a sentence. From there, 993 steps of 32 images, real faces among them, with a projected "
        "discriminator took five minutes of an H200 that two other trainings shared. The weights are three tenths of the result "
        f"and seven tenths of what it began with: the result alone is sharper, and draws mouths that do not fit. {_REFIT} {_WIDER} "
        f"2,726 steps of 8 images in 94 minutes. {_CAPTIONS} 1,600 steps of 8 images in 37 minutes of one CPU core.",
        data=(_FACES, _UTK),
        protocol=f"120 test portraits shrunk bicubically and rounded to 8 bits. {_PROTOCOL} {_FACES_NOTE}\n\n{_BY_GROUP}",
        limits=(
            _PORTRAITS,
            "It draws the faces that it knows. At 16 times and more the result is a likeness of the training portraits, not of "
            "the person. At 4 to 16 times, two fifths to half of the fine structure (the energy of the Laplacian) are missing.",
            "It also learned tightly cut real faces. In other photos at 16 times and more, eyes may land where those have them.",
            _FINE_SEED,
        ),
        groups=_GROUPS,
    ),
    "textir-mini-colorization": Facts(
        task="colorization",
        summary="Colorizes gray photos as a sentence says.",
        does="It predicts colors for a gray photo and joins them with the photo's own full-size lightness.",
        training=f"{_GENERATOR}\n\nA first network took 2,009 steps on flowers, clothing and scenes, and 4,242 more of two runs whose mean it is. "
        "Its style layer was refitted to today's dual encoder. From there, 1,217 steps of 32 images with a projected "
        "discriminator took five minutes of an H200 that two other trainings shared. A network for masks (ISNet) had marked the "
        "object in 8,668 images; in 4,168 it was clear. Three in five of these had their object in another color, and 2,177 "
        "images were made of two objects. Under another image's condition, what lies around the object had to keep its "
        "colors. In the last runs, most images came under sentences: flowers and clothing whose object alone got the color that "
        "its sentence names, composites of two objects of which one is named, and scenes under their captions; 10,340 steps "
        "of 8 images in 135 minutes of one CPU core, most of them with the L1 loss alone. The colors are then multiplied by "
        "1.5: the network predicts a mean over likely colors, which is too pale.",
        data=(_FLICKR, _FLOWERS, _CLOTHES, _OBJECTS),
        protocol=f"40 test images each of flowers, clothing and scenes. {_PROTOCOL}\n\nColor words are measured between the "
        "result under the word and the result under the sentence without it: the hue of the image's middle, and how far the "
        "middle and the outer tenth move towards the word in CIE Lab.",
        limits=(
            "A color word also tints what surrounds the object, about half as far as the object. What is too dark or too bright "
            "for the color stays as it is. Skies come out blotched, and faces take the color of a coat.",
            _SEED,
        ),
        groups="Photos of people come from a photo site and favor some groups. No measurement by group has been made.",
    ),
}

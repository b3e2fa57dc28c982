"""Every word that the page shows."""

TITLE = "TextIR"
INTRO = """# TextIR
Restore a picture towards what a sentence says: **fill** holes, **enlarge**, **color**, or take something away and
bring it back as you describe it."""
EDITOR = "Picture: paint white where it shall be filled"
EDIT_EDITOR = "Picture: for a region, paint white where it shall change"
IMAGE = "Picture"
PROMPT = "What should be there?"
PLACEHOLDER = "a smiling woman with black hair"
SUGGESTIONS = {
    "inpainting": (
        "a smiling woman",
        "a serious man",
        "a person with glasses",
        "a man with a mustache",
        "a woman with blond hair and bangs",
        "an old man with gray hair",
    ),
    "super-resolution": (
        "a smiling woman",
        "a serious man",
        "a man with black hair",
        "a woman with blond hair",
        "an old man with gray hair",
    ),
    "colorization": (
        "a red cup of coffee",
        "a yellow flower",
        "a purple flower",
        "a blue dress",
        "a rocket in a blue sky",
        "an orange cat",
    ),
}
BETA = "Beta: share of the sentence against the picture itself"
BETA_INFO = "1 is the sentence alone, more exaggerates it"
OWN = "Let the network choose how much the picture counts"
STRENGTH = "Strength s: how much the sentence's features count against the picture's"
SCALE = "Times larger"
FACTOR = "Resolution to lose (times)"
FEATHER = "Soft border inside the mask (pixels)"
GROW = "Grow (or shrink) the mask (pixels)"
INVERT = "Invert the mask"
MASK_FILE = "Mask from a file (white = fill), added to what is painted"
FACE = "Look at the largest face only (for faces in photos)"
SEED = "Seed"
VARIANTS = "Variants"
CHECKPOINT = "Checkpoint"
BEFORE_AFTER = "Before and after: drag the line"
RESULTS = "Results"
DOWNLOAD = "Download PNG (with its settings)"
USE = "Use as input"
HISTORY = "This visit: pick a result to go back to it"
SETTINGS = "Restore the settings of a downloaded PNG: drop it here"
DEGRADATION = "Take away"
DEGRADATIONS = ("the region", "the resolution", "the colors")
SWEEP_PROMPTS = "Sentences, one a line"
SWEEP_BETAS = "Betas"
MASK_PREVIEW = "The mask as it will be used: white is filled"
BUTTONS = {"fill": "Fill", "enlarge": "Enlarge", "color": "Color", "edit": "Edit", "sweep": "Draw the grid"}
NO_IMAGE = "Give a picture first: upload one, paste one, or pick an example."
NO_URL = "Give a file, not an address."
NO_PICTURE = "The file is no picture that can be read. Convert it to PNG or JPEG."
NO_MASK = "Nothing is masked: paint white where the picture shall be filled, or give a mask file."
ALL_MASKED = "The mask covers the whole picture, so nothing is left to go by. Paint less, or invert it."
MASK_SIZE = "The mask must have the picture's size {0}x{1}, got {2}x{3}."
NO_PROMPT = "Say what should be there: the sentence is empty."
LONG_PROMPT = "The sentence has {0} characters. Say it in at most {1}."
CUT_PROMPT = "The sentence is long: only its first {0} words or so are read."
LARGE = "The result would have {0:.0f} megapixels. At most {1:.0f} are made here: choose a smaller scale or picture."
SAME = "This checkpoint learnt next to no noise: a seed changes next to nothing, so there is one result."
NO_SETTINGS = "This picture holds no settings: only PNG files downloaded here do."
NO_RESULT = "There is no result yet."
SETTINGS_BACK = "The settings are back. Give the picture again, and press the button."
NOT_NUMBERS = "Betas must be numbers like 0 0.5 1, got {0}."
MANY = "A grid has at most {0} pictures, this one would have {1}."
API = """### From a program
Every tab is an endpoint, `/fill`, `/enlarge`, `/color`, `/edit` and `/sweep`, with the inputs of its page; "Use via API"
at the foot of the page lists them. In Python, with this page's address as `URL`:
```python
from gradio_client import Client, handle_file

client = Client(URL)
(before, after), results = client.predict(
    image=handle_file("small.png"), prompt="a smiling woman", scale=8, api_name="/enlarge"
)
```
A mask goes with the picture as a file: `editor={"background": handle_file("photo.png"), "layers": [], "composite": None}`
and `mask_file=handle_file("mask.png")`. In the shell:
```shell
FILE=$(curl -s -F files=@small.png $URL/gradio_api/upload | tr -d '[]"')
DATA='[{"path": "'$FILE'", "meta": {"_type": "gradio.FileData"}}, "a smiling woman", 8, 1, true, 0.5, 0, 1,
  "textir-mini-super-resolution", false]'
ID=$(curl -s $URL/gradio_api/call/enlarge --json '{"data": '"$DATA"'}' | cut -d'"' -f4)
curl -s -N $URL/gradio_api/call/enlarge/$ID
```"""
ABOUT = """TextIR (Bai et al., 2023) joins an encoder and a style-based generator by weighted skips; a CLIP embedding of
your sentence steers it. [Paper](https://arxiv.org/abs/2302.14736). Pictures stay on this server for an hour at most, and
nobody else can see them. The networks inside are small and ours; they allow research use only."""

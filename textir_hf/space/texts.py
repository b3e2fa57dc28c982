"""Every word that the page shows."""

TITLE = "TextIR"
INTRO = "<h1>TextIR</h1><p>Describe what an image should show: repaint a region, upscale, colorize, or edit it.</p>"
LOADING = "The networks are loading; a run waits for them."
PROMPT = "What should the result show?"
PLACEHOLDER = "a smiling woman with black hair"
SUGGESTIONS = {
    "inpaint": ("a smiling woman", "a serious man", "a person with glasses", "a man with a mustache"),
    "upscale": ("a smiling woman", "a man with black hair", "a woman with blond hair", "an old man"),
    "colorize": ("a red cup of coffee", "a yellow flower", "a blue dress", "an orange cat"),
    "edit": ("a smiling woman", "an old man with gray hair", "a red cup of coffee"),
    "batch": ("a smiling woman", "a man with black hair", "a red cup of coffee"),
}
HELP = {
    "inpaint": "Paint over what shall change; everything else stays as it is, pixel by pixel.",
    "upscale": "Make a small image 2 to 64 times larger.",
    "colorize": "Give color to a gray image. Colors that it has are taken away first.",
    "edit": "Take something away from a good image, and restore it as the sentence says.",
    "compare": "Edit one image under several sentences and text strengths, and see all results beside each other.",
    "batch": "Restore several images with one sentence, and get a ZIP.",
}
PARTS = "Mask a part of the face"
FIELDS = {  # label and help
    "beta": ("Text strength (beta)", "1 follows the sentence alone, 0 the image alone; more exaggerates."),
    "automatic": ("Let the network weigh the image's features", "Otherwise the next slider does (s of the paper)."),
    "skip_strength": ("Generated features (s)", "0 keeps to the image's features, 1 to generated ones."),
    "seed": ("Seed", "The same seed gives the same result."),
    "variants": (
        "Variants",
        "Several results side by side; they differ in seed, or in text strength where seeds change nothing.",
    ),
    "checkpoint": ("Checkpoint", "The network that does the work."),
    "scale": ("Scale", "How many times larger the result is."),
    "feather": ("Feather", "Pixels inside the mask over which old content turns into new."),
    "faces": ("Faces", "Each is restored upright, in a frame of its own."),
    "background": ("Around the faces", "Hair, shoulders, and all else outside the faces' frames."),
    "degradation": ("Degrade", "What is taken away from the image before it is restored."),
    "factor": ("Resolution to lose", "How many times the image is shrunk."),
    "confine": ("Change a painted region only", "Everything outside stays as it is, pixel by pixel."),
    "prompts": ("Sentences", "One a line: a row of the grid for each."),
    "betas": ("Text strengths (beta)", "Numbers like 0 0.5 1: a column of the grid for each."),
}
DICE = "Another seed"
FACES_FOUND = "Faces found: {0}. A click or its number chooses one."
CHOICES = {  # of fields
    "faces": {"auto": "Every face, if there is any", "largest": "The largest face", "none": "No faces"},
    "background": {"restored": "Restored, too", "enlarged": "Plainly enlarged"},
}
DEGRADATIONS = {"mask_image": "A region", "factor": "Resolution", "colors": "Colors"}
COMPARE_EXAMPLE = "a red cup of coffee\na blue cup of coffee"
BATCH_FILES = "Images"
BATCH_TASK = "Task"
BATCH_ZIP = "Results as a ZIP"
SETTINGS = "Settings"
RESTORE = "Restore the settings of a downloaded PNG: drop it here"
EXAMPLES = "Examples"
CANCEL = "Cancel"
WAITING = "Waiting: place {0} of {1} in the queue."
CANCELLED = "Cancelled."
STRENGTH_CAPTION = "text strength {0:g}"
DONE = "Done in {0:.1f} s."
BATCH_DONE = "{0} of {1} images done."
NO_IMAGE = "Give an image first: choose one, paste one, or pick an example."
NO_URL = "Give a file, not an address."
BAD_MASK = "The mask must be a PNG of the image's size. Paint it again."
NO_MASK = "Nothing is masked: paint over what shall change, or give a mask file with white in it."
ALL_MASKED = "The mask covers the whole image, so nothing is left to go by. Paint less, or invert it."
MASK_SIZE = "The mask must have the image's size {0}x{1}, got {2}x{3}."
NO_FACE = "No upright frontal face was found. Paint the mask by hand."
NO_PROMPT = "Say what the result should show: the sentence is empty."
LONG_PROMPT = "The sentence has {0} characters. Say it in at most 500."
CUT_PROMPT = "The sentence is long: only its first {0} words or so are read."
LARGE = "The result would have {0:.0f} megapixels. At most {1:.0f} are made here: choose a smaller scale or image."
NO_SETTINGS = "This image holds no settings: only PNG files downloaded here do."
SETTINGS_BACK = "The settings are back. Give the image again, and run."
NOT_NUMBERS = "Text strengths must be numbers like 0 0.5 1, got {0}."
MANY = "A grid has 1 to {0} images, this one would have {1}."
FILES = "A batch has 1 to {0} images, this one has {1}."
FAILED = "The run failed on the server, and its operator can see why. Try another image, or a smaller one."
SHORTCUTS = """## Keys
`[` and `]` change the brush, `B`, `E` and `S` choose brush, eraser and selection, `F` finds faces, `Ctrl+Z` undoes, `Ctrl+Enter` runs,
and holding `C` shows the original. With the image focused, arrows move the brush, `Space` paints, `+`, `-` and `0` zoom;
the wheel zooms too, and dragging with `Shift` or two fingers moves the image."""
API = """## From a program
Each task is an endpoint, `/inpaint`, `/upscale` and `/colorize`, and so are `/edit` and `/compare`; "Use via API" at the
foot of the page lists their arguments. In Python, with this page's address as `URL`:
```python
from gradio_client import Client, handle_file

client = Client(URL)
(result,) = client.predict(
    image=handle_file("small.png"), prompt="a smiling woman", scale=8, api_name="/upscale"
)
```
`result` is the path of a PNG. `mask_image=handle_file("mask.png")` goes to `/inpaint`. In the shell:
```shell
FILE=$(curl -s -F files=@small.png $URL/gradio_api/upload | tr -d '[]"')
DATA='{"image": {"path": "'$FILE'", "meta": {"_type": "gradio.FileData"}}, "prompt": "a smiling woman", "scale": 8}'
ID=$(curl -s $URL/gradio_api/call/v2/upscale --json "$DATA" | cut -d'"' -f4)
curl -s -N $URL/gradio_api/call/v2/upscale/$ID
```"""
MCP = """## From an agent
The endpoints are tools of an MCP server at `/gradio_api/mcp/`. Images are given as data URLs (`data:image/png;base64,...`)."""
ABOUT = """TextIR (Bai et al., 2023) joins an encoder and a style-based generator by weighted skips; a CLIP embedding of
your sentence steers it. [Paper](https://arxiv.org/abs/2302.14736). Images stay on this server for an hour at most, and
nobody else can see them. The networks inside are small; they allow research use only."""

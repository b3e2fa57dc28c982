"""Every word that the page shows."""

TITLE = "TextIR"
INTRO = "<h1>TextIR</h1><p>Describe what an image should show.</p>"
_WHAT = "Describe what an image should show: repaint a region, upscale, colorize, or edit it."
HEAD = f"""<meta name="description" content="{_WHAT}"><meta property="og:title" content="{TITLE}">
<meta property="og:description" content="{_WHAT}"><meta property="og:type" content="website">"""
LOADING = "The networks are loading; a run waits for them."
PROMPT = "What should the result show?"
PLACEHOLDER = "What should the result show? For example: a smiling woman with black hair"
HELP = {
    "inpaint": "Paint over what should change. Every other pixel stays as it is.",
    "upscale": "Make a small image 2 to 64 times larger.",
    "colorize": "Add color to a gray image. Color images are converted to grayscale first.",
    "edit": "Remove detail, color or a region from an image, then restore it to match the sentence.",
    "compare": "Edit one image with several sentences and text strengths, and compare the results.",
    "batch": "Restore several images with one sentence, and get a ZIP.",
}
FIELDS = {  # label and help
    "beta": ("Text strength (beta)", "1 follows the sentence only, 0 the image only. More than 1 exaggerates."),
    "automatic": (
        "Choose s automatically",
        "The network decides how much to keep of the image. Turn off to use the slider below.",
    ),
    "skip_strength": ("Skip strength (s)", "0 keeps the image's features, 1 uses generated ones."),
    "seed": ("Seed", "The same seed gives the same result."),
    "checkpoint": ("Checkpoint", "The network to use."),
    "scale": ("Scale", "How many times larger the result is."),
    "feather": ("Soft edge", "Pixels inside the mask over which the old content blends into the new."),
    "faces": ("Faces", "Each chosen face is restored on its own, upright."),
    "background": ("Around the faces", "Hair, shoulders and everything else."),
    "degradation": ("Remove", "What to remove from the image before it is restored."),
    "factor": ("How much detail to remove", "How many times the image is shrunk."),
    "confine": ("Change only a painted region", "Every pixel outside it stays as it is."),
    "prompts": ("Sentences", "One per line. Each is a row of the grid."),
    "betas": ("Text strengths (beta)", "Numbers like 0 0.5 1. Each is a column of the grid."),
}
DICE = "Another seed"
CHOICES = {  # of fields
    "faces": {"auto": "Every face", "largest": "The largest face", "none": "No faces"},
    "background": {"restored": "Restore", "enlarged": "Just enlarge"},
}
DEGRADATIONS = {"mask_image": "A region", "factor": "Detail", "colors": "Color"}
COMPARE_EXAMPLE = "a red cup of coffee\na blue cup of coffee"
BATCH_FILES = "Images"
BATCH_TASK = "Task"
RECIPE = "The batch will {0} with the settings of your step. Choose images."
SETTINGS = "Settings"
RESTORE = "Restore settings from a downloaded PNG"
CANCEL = "Cancel"
CANCELLED = "Cancelled."
STRENGTH_CAPTION = "text strength {0:g}"
DONE = "Done in {0}."
BATCH_DONE = "{0} of {1} images done."
NO_IMAGE = "Give an image first: choose one, paste one, or pick an example."
NO_URL = "Give a file, not an address."
BAD_MASK = "The mask must be a PNG of the image's size. Paint it again."
NO_MASK = "Nothing is masked: paint over what should change, or load a mask file with white in it."
ALL_MASKED = "The mask covers the whole image, so there is nothing to go by. Paint less, or invert it."
MASK_SIZE = "The mask must have the image's size {0}x{1}, got {2}x{3}."
NO_PROMPT = "Say what the result should show: the sentence is empty."
LONG_PROMPT = "The sentence has {0} characters. The limit is 500."
CUT_PROMPT = "The sentence is long: only its first {0} words or so are read."
LARGE = "The result would have {0:.0f} megapixels. The limit here is {1:.0f}: choose a smaller scale or image."
NO_REGION = "Region {0} is empty: paint it, or delete it."
NO_REGION_PROMPT = "Region {0} needs a sentence: say what it should show, or delete it."
NO_SETTINGS = "This image holds no settings: only PNG files downloaded here do."
SETTINGS_BACK = "The settings are back. Give the image again, and run."
OTHER_MODEL = " The checkpoint {} is not offered here, so the result will differ."
NO_COMMAND = "# No command: the shell has none for a region with its own beta. Use the Python code."
NOT_NUMBERS = "Text strengths must be numbers like 0 0.5 1, got {0}."
MANY = "A grid can have 1 to {0} images; this one would have {1}."
FILES = "A batch can have 1 to {0} images; this one has {1}."
FAILED = "The run failed on the server, and its operator can see why. Try another image, or a smaller one."

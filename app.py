"""The Space: draw a mask, type a sentence, see it.

python app.py          # with the embedded checkpoints, at http://127.0.0.1:7860
TEXTIR_CHECKPOINTS="owner/name folder" python app.py
"""

import os
from functools import partial

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from textir_hf.space import actions, examples, masks, texts
from textir_hf.space.look import CSS, editor, picture, theme
from textir_hf.tasks.super_resolution import MAX_FACTOR

TASKS = {"fill": "inpainting", "enlarge": "super-resolution", "color": "colorization", "edit": "inpainting"}
KEEP_SECONDS = 3600


class Tab:
    """What every tab has: sentence, suggestions, settings and a button.

    Args:
        name: Of the action.
        shown: Components that stand before the settings, folded away.
    """

    def __init__(self, name: str, shown=lambda: {}) -> None:
        self.name, task = name, TASKS[name]
        self.prompt = gr.Textbox(label=texts.PROMPT, placeholder=texts.PLACEHOLDER, elem_id=f"{name}-prompt", lines=1)
        said = [[sentence] for sentence in texts.SUGGESTIONS[task]]
        suggestions = gr.Dataset(components=[self.prompt], samples=said, show_label=False, samples_per_page=10)
        suggestions.click(lambda row: row[0], suggestions, self.prompt, api_visibility="private")
        self.button = gr.Button(texts.BUTTONS[name], variant="primary", elem_id=f"{name}-run")
        with gr.Accordion("Settings", open=False, elem_id=f"{name}-settings"):
            self.extra = shown()
            self.beta = gr.Slider(0, 1.5, 1, step=0.05, label=texts.BETA, info=texts.BETA_INFO)
            self.own = gr.Checkbox(True, label=texts.OWN)
            self.strength = gr.Slider(0, 1, 0.5, step=0.05, label=texts.STRENGTH)
            with gr.Row():
                self.seed = gr.Number(0, precision=0, minimum=0, label=texts.SEED, elem_id=f"{name}-seed")
                dice = gr.Button("🎲 Another seed", elem_id=f"{name}-dice")
            self.variants = gr.Slider(1, 4, 1, step=1, label=texts.VARIANTS)
            names = actions.offered()[task]
            self.checkpoint = gr.Dropdown(names, value=names[0], label=texts.CHECKPOINT, visible=name != "edit")
        dice.click(actions.dice, None, self.seed, api_visibility="private")

    def fields(self) -> list:
        """What a PNG's settings restore."""
        scale = [self.extra["scale"]] if "scale" in self.extra else []
        return [self.prompt, self.beta, self.strength, self.seed, *scale, self.own]

    def common(self) -> list:
        """The settings that all actions take, in their order."""
        return [self.beta, self.own, self.strength, self.seed, self.variants]


class Results:
    """What was made, and what can be done with it."""

    def __init__(self) -> None:
        self.slider = gr.ImageSlider(
            label=texts.BEFORE_AFTER, format="png", type="pil", elem_id="slider", max_height=560
        )
        shown = {"format": "png", "type": "filepath", "object_fit": "contain", "interactive": False}
        shown["fit_columns"] = False
        self.gallery = gr.Gallery(label=texts.RESULTS, columns=4, height=190, elem_id="results", **shown)
        with gr.Row():
            self.download = gr.DownloadButton(texts.DOWNLOAD, elem_id="download", size="md")
            self.use = gr.Button(texts.USE, elem_id="use", size="md")
        self.history = gr.Gallery(label=texts.HISTORY, columns=6, height=150, elem_id="history", **shown)
        self.chosen = gr.State(0)
        self.gallery.select(self._select, self.gallery, [self.chosen, self.download], api_visibility="private")
        self.history.select(
            self._back, self.history, [self.gallery, self.slider, self.download, self.chosen], api_visibility="private"
        )

    @staticmethod
    def _select(gallery, event: gr.SelectData):
        return event.index, gallery[event.index][0]

    @staticmethod
    def _back(history, event: gr.SelectData):
        path = history[event.index][0]
        return [history[event.index]], (path, path), path, 0

    def run(self, event, name: str, inputs: list, api: bool = True) -> None:
        """Lets an event run an action, one at a time for each network, and then keeps what was made."""
        action = getattr(actions, name)
        made = event(
            action,
            inputs,
            [self.slider, self.gallery],
            api_name=name if api else None,
            api_description=action.__doc__,
            api_visibility="public" if api else "private",
            concurrency_id=TASKS[name],
            concurrency_limit=1,
        )
        outputs = [self.download, self.history, self.chosen]
        made.success(actions.remember, [self.gallery, self.history], outputs, api_visibility="private")


def try_examples(labels, name: str, outputs: list, results: Results, inputs: list) -> None:
    """A row of buttons, each of which fills the tab in and runs it."""
    function = getattr(actions, f"{name}_example")
    with gr.Row():
        for label in labels:
            button = gr.Button(label, size="sm", min_width=90)
            ready = button.click(partial(function, label), None, outputs, api_visibility="private")
            results.run(ready.success, name, inputs, api=False)


def mask_tools() -> dict:
    """What can be done to a painted mask."""
    return {
        "file": picture("mask-file", texts.MASK_FILE, 140),
        "invert": gr.Checkbox(False, label=texts.INVERT),
        "grow": gr.Slider(-30, 60, 0, step=1, label=texts.GROW),
        "feather": gr.Slider(0, 40, 0, step=1, label=texts.FEATHER),
        "face": gr.Checkbox(False, label=texts.FACE),
        "show": gr.Button("Show the mask", size="sm", elem_id="show-mask"),
        "preview": gr.Image(type="pil", format="png", label=texts.MASK_PREVIEW, height=200, interactive=False),
    }


def fill_tab(results: Results) -> tuple[Tab, gr.ImageEditor]:
    """Holes."""
    canvas = editor(texts.EDITOR, "fill-editor")
    with gr.Row():
        parts = {part: gr.Button(f"Mask: {part.lower()}", size="sm", min_width=90) for part in masks.PARTS}
    tab = Tab("fill", mask_tools)
    for part, button in parts.items():
        button.click(partial(actions.mask_part, part=part), canvas, canvas, api_visibility="private")
    tools = tab.extra
    more = [tools[n] for n in ("file", "invert", "grow")]
    tools["show"].click(actions.show_mask, [canvas, *more], tools["preview"], api_visibility="private")
    inputs = [canvas, tab.prompt, *tab.common(), tab.checkpoint, *more, tools["feather"], tools["face"]]
    results.run(tab.button.click, "fill", inputs)
    try_examples(examples.FILL, "fill", [canvas, tab.prompt], results, inputs)
    return tab, canvas


def enlarge_tab(results: Results) -> tuple[Tab, gr.Image]:
    """Small pictures."""
    image = picture("enlarge-image")
    scale = gr.Slider(2, MAX_FACTOR, 4, step=1, label=texts.SCALE, elem_id="scale")
    tab = Tab("enlarge", lambda: {"face": gr.Checkbox(False, label=texts.FACE)})
    tab.extra["scale"] = scale
    inputs = [image, tab.prompt, scale, *tab.common(), tab.checkpoint, tab.extra["face"]]
    results.run(tab.button.click, "enlarge", inputs)
    try_examples(examples.ENLARGE, "enlarge", [image, tab.prompt, scale], results, inputs)
    return tab, image


def color_tab(results: Results) -> tuple[Tab, gr.Image]:
    """Gray pictures."""
    image = picture("color-image")
    tab = Tab("color")
    inputs = [image, tab.prompt, *tab.common(), tab.checkpoint]
    results.run(tab.button.click, "color", inputs)
    try_examples(examples.COLOR, "color", [image, tab.prompt], results, inputs)
    return tab, image


def edit_tab(results: Results) -> tuple[Tab, gr.ImageEditor]:
    """Good pictures."""
    canvas = editor(texts.EDIT_EDITOR, "edit-editor")
    degradation = gr.Radio(
        texts.DEGRADATIONS, value=texts.DEGRADATIONS[0], label=texts.DEGRADATION, elem_id="degradation"
    )
    factor = gr.Slider(2, MAX_FACTOR, 8, step=1, label=texts.FACTOR)
    tab = Tab("edit")
    inputs = [canvas, tab.prompt, degradation, factor, *tab.common()]
    results.run(tab.button.click, "edit", inputs)
    return tab, canvas


def sweep_tab() -> None:
    """Grids."""
    image = picture("sweep-image")
    said = "a red cup of coffee\na blue cup of coffee"
    prompts = gr.Textbox(said, lines=3, label=texts.SWEEP_PROMPTS, elem_id="sweep-prompts")
    betas = gr.Textbox("0 0.5 1", label=texts.SWEEP_BETAS)
    kinds = texts.DEGRADATIONS[1:]
    degradation = gr.Radio(kinds, value=kinds[1], label=texts.DEGRADATION)
    factor = gr.Slider(2, MAX_FACTOR, 8, step=1, label=texts.FACTOR)
    button = gr.Button(texts.BUTTONS["sweep"], variant="primary", elem_id="sweep-run")
    grid = gr.Image(type="pil", format="png", label=texts.RESULTS, interactive=False, elem_id="grid")
    inputs = [image, prompts, betas, degradation, factor]
    button.click(actions.draw_sweep, inputs, grid, api_name="sweep", concurrency_id="sweep", concurrency_limit=1)


def back(path, *tabs: Tab) -> list:
    """Updates of the tab of a downloaded PNG's task, in the order of `Tab.fields`."""
    settings, updates, selected = actions.settings_of(path), [], None
    for tab in tabs:
        known = settings if settings.get("task") == TASKS[tab.name] else {}
        selected = tab.name if known else selected
        prompt = known.get("prompt")
        values = [prompt[0] if isinstance(prompt, list) else prompt, known.get("beta"), known.get("strength")]
        values += [known.get("seed"), known.get("scale")][: len(tab.fields()) - 4]
        updates += [gr.skip() if v is None else v for v in values]
        updates.append("strength" not in known if known else gr.skip())
    if settings:
        gr.Info(texts.SETTINGS_BACK)
    return [gr.Tabs(selected=selected) if selected else gr.skip(), *updates]


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=texts.TITLE, delete_cache=(600, KEEP_SECONDS), analytics_enabled=False) as page:
        gr.Markdown(texts.INTRO)
        with gr.Row():
            left = gr.Column(scale=5, min_width=320)
            with gr.Column(scale=5, min_width=320):
                results = Results()
        with left, gr.Tabs(elem_id="tabs") as tabs:
            made = {}
            builders = {"fill": fill_tab, "enlarge": enlarge_tab, "color": color_tab, "edit": edit_tab}
            for name, build_tab in builders.items():
                with gr.Tab(texts.BUTTONS[name], id=name):
                    made[name] = build_tab(results)
            with gr.Tab("Sweep", id="sweep"):
                sweep_tab()
            with gr.Tab("About", id="about"):
                gr.Markdown(actions.about())
                gr.Markdown(texts.API)
        with left, gr.Accordion(texts.SETTINGS, open=False):
            dropped = gr.File(file_types=[".png"], type="filepath", label="PNG", elem_id="settings-file")
        three = [made[name][0] for name in ("fill", "enlarge", "color")]
        fields = [tabs, *(field for tab in three for field in tab.fields())]
        dropped.upload(lambda path: back(path, *three), dropped, fields, api_visibility="private")
        chosen = [results.gallery, results.chosen]
        for name in ("fill", "edit"):
            results.use.click(actions.as_editor, chosen, made[name][1], api_visibility="private")
        for name in ("enlarge", "color"):
            results.use.click(actions.chosen_path, chosen, made[name][1], api_visibility="private")
    return page


page = build().queue(max_size=24)

if __name__ == "__main__":
    page.launch(theme=theme(), css=CSS, max_file_size="20mb", footer_links=["api", "settings"])

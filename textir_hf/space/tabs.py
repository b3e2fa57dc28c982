"""The page's tabs: which fields each task has, and how they are wired to its action."""

import json
import random
import time
from importlib.util import find_spec

import gradio as gr

from textir_hf.space import actions, events, examples, networks, settings, texts
from textir_hf.space.components import editor, example_gallery, numbered, read, status, status_line
from textir_hf.space.progress import INTERVAL
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEGRADATIONS

QUIET = {"queue": False, "show_progress": "hidden", **events.PRIVATE}


def argument(name: str, tab: str, value=None) -> gr.components.Component | None:
    """The field of an argument that only some tasks take, with a value; None where the page has none for it."""
    if name not in texts.FIELDS:
        return None
    label, info = texts.FIELDS[name]
    options = {"label": label, "info": info, "elem_id": f"{tab}-{name}"}
    if name in texts.CHOICES:
        kinds = [(text, choice) for choice, text in texts.CHOICES[name].items()]
        return gr.Dropdown(kinds, value=value or kinds[0][1], **options)
    opening = {"scale": 4, "feather": settings.SOFT_EDGE}
    return gr.Slider(*settings.RANGES[name][:2], value or opening[name], step=1, **options)


def canvas() -> gr.HTML:
    def plain(example: examples.Example) -> dict:
        return {"image": example.shown["before"], "boxes": []}

    tabs = {}
    for task in (task for task in TASKS.values() if task.checkpoint):
        opening = next((example.opening for example in examples.of(task.name)), None)
        takes = {"paints": "mask_image" in (*task.requires, *task.accepts), "faces": "faces" in task.accepts}
        tabs[task.command] = takes | {"regions": True, "sweeps": "scale" in task.requires, "opening": opening}
    takes = {"paints": False, "faces": True, "regions": True, "sweeps": True}
    tabs["edit"] = takes | {"opening": plain(examples.EXAMPLES[0])}
    gray = next(e for e in examples.of(actions.editing_task("colors").name) if not e.regions)
    tabs["compare"] = {"paints": False, "opening": plain(gray)}
    return editor(tabs, events.look)


class Tab:
    """What the tabs share: sentence, button, status and settings below the canvas."""

    def __init__(self, name: str, canvas: gr.HTML | None) -> None:
        self.name, self.canvas, self.fields = name, canvas, {}

    def add_prompt(self, label: str, value: str = "") -> None:
        options = {"placeholder": texts.PLACEHOLDER, "elem_id": f"{self.name}-prompt", "lines": 1, "max_lines": 3}
        options |= {"container": False, "show_label": False}
        with gr.Row(elem_classes="ti-ask"):
            self.prompt = self.fields["prompt"] = gr.Textbox(value, label=texts.PROMPT, scale=4, **options)
            self.add_button(label)
        self.status = status_line(f"{self.name}-status")
        gr.Markdown(texts.HELP.get(self.name, ""), elem_classes="ti-help")

    def add_button(self, label: str) -> None:
        run, cancel = ({"elem_id": f"{self.name}-{k}", "elem_classes": f"ti-{k}"} for k in ("run", "cancel"))
        self.button = gr.Button(label, variant="primary", min_width=110, **run)
        self.cancel = gr.Button(texts.CANCEL, visible=False, min_width=110, **cancel)

    def add_guidance(self) -> None:
        self.beta = gr.Slider(*settings.RANGES["beta"][:2], 1, step=0.05, **self._labels("beta"))
        self.automatic = gr.Checkbox(True, **self._labels("automatic"))
        self.skip_strength = gr.Slider(0, 1, 0.5, step=0.05, **self._labels("skip_strength"))
        self.add_seed()
        self.guidance = [self.prompt, self.beta, self.automatic, self.skip_strength, self.seed]  # as `_guidance` has it
        self.fields |= {"beta": self.beta, "automatic": self.automatic, "skip_strength": self.skip_strength}

    def add_seed(self) -> None:
        with gr.Row():
            bounds = {"precision": 0, "minimum": 0, "maximum": settings.RANGES["seed"].high}
            self.seed = self.fields["seed"] = gr.Number(0, **bounds, **self._labels("seed"))
            dice = gr.Button(texts.DICE, elem_id=f"{self.name}-dice", min_width=120)
        dice.click(lambda: random.randrange(2**31), None, self.seed, **QUIET)

    def more(self) -> gr.Accordion:
        return gr.Accordion(texts.SETTINGS, open=False, elem_id=f"{self.name}-settings", elem_classes="ti-settings")

    def _labels(self, name: str) -> dict:
        label, info = texts.FIELDS[name]
        return {"label": label, "info": info, "elem_id": f"{self.name}-{name}"}

    def run(self, function, inputs: list, finish=events.shown, output=None) -> None:
        """Lets the button run a function of the canvas and `inputs`."""
        output = self.canvas if output is None else output
        canvas = [self.canvas] if self.canvas else []
        take = "async (canvas, ...rest) => [await textir.value(), ...rest]" if canvas else None
        show = "() => [{ __type__: 'update', visible: true }, '']"  # at once: a run may wait in the queue
        self.button.click(None, None, [self.cancel, self.status], js=show, **events.PRIVATE)
        event = self.button.click(
            events.streamed(function, finish),
            [*canvas, *inputs],
            [output, self.status, self.cancel],
            js=take,
            show_progress="minimal",
            show_progress_on=self.status,
            trigger_mode="multiple",  # the last run may be ending still
            **events.QUEUED,
            **events.PRIVATE,
        )
        outputs, ending = [self.status, self.cancel], {"cancels": event, "queue": False, **events.PRIVATE}
        stopped = self.cancel.click(
            lambda: (status(texts.CANCELLED), gr.Button(visible=False)), None, outputs, **ending
        )
        last = stopped.then(lambda: time.sleep(2 * INTERVAL), **QUIET)  # what the run said last may be under way still
        last.then(events.settled, self.status, self.status, **QUIET)


def _guidance(canvas, prompt, beta, automatic, skip_strength, seed) -> actions.Guidance:
    """With four variants, or the steps of the slider from image to text, where the canvas asks for them."""
    variants, sweep = 4 if canvas.get("ask") == "four" else 1, canvas.get("ask") == "steps"
    return actions.Guidance(prompt, beta, None if automatic else skip_strength, seed, variants, sweep)


class TaskTab(Tab):
    def __init__(self, task: Task, canvas: gr.HTML) -> None:
        items = examples.of(task.name)
        with gr.Tab(task.command.capitalize(), id=task.command):
            super().__init__(task.command, canvas)
            self.add_prompt(task.command.capitalize(), items[0].prompt if items else "")
            known, given = {}, items[0].arguments if items else {}
            if "scale" in task.requires:  # the other arguments stand among the settings
                known["scale"] = argument("scale", task.command, given.get("scale"))
            if items:
                gallery = example_gallery(items, f"{task.command}-examples")
            with self.more():
                for name in (*task.requires, *task.accepts):
                    if name not in known and (box := argument(name, task.command, given.get(name))):
                        known[name] = box
                self.add_guidance()
                names = networks.offered()[task.name]
                self.checkpoint = gr.Dropdown(names, value=names[0], **self._labels("checkpoint"))
            self.fields |= known | {"checkpoint": self.checkpoint}

        def pick(event: gr.EventData) -> list:
            item = items[int(event.choice)]
            return [numbered(item.opening), item.prompt, *(item.arguments.get(name, gr.skip()) for name in known)]

        if items:
            gallery.select(pick, None, [canvas, self.prompt, *known.values()], **QUIET)

        def act(canvas, *values):
            arguments = dict(zip(known, values[6:], strict=True))
            given = events.given(canvas, arguments.get("faces", "none"))
            if "faces" in known:
                arguments["faces"] = given.faces
            return actions.restore(task, given, _guidance(canvas, *values[:5]), values[5], arguments)

        self.run(act, [*self.guidance, self.checkpoint, *known.values()])


class _Degrading(Tab):
    """What edits and comparisons share: what is taken away, and where."""

    def add_degradation(self, kind: str) -> None:
        """What is taken away, with the fields that apply to `kind` shown."""
        kinds = [(texts.DEGRADATIONS[name], name) for name in DEGRADATIONS]
        self.degradation = self.fields["degradation"] = gr.Radio(kinds, value=kind, **self._labels("degradation"))
        options = {"step": 1, "visible": kind == "factor"} | self._labels("factor")
        self.factor = self.fields["factor"] = gr.Slider(*settings.RANGES["factor"][:2], 8, **options)
        confine = gr.Checkbox(False, **self._labels("confine"))
        paint = f"(kind, confined) => textir.paint('{self.name}', kind === 'mask_image' || confined)"
        gr.on([self.degradation.change, confine.change], None, [self.degradation, confine], None, js=paint)
        self.faces = self.fields["faces"] = argument("faces", self.name)
        self.faces.visible = "faces" in actions.editing_task(kind).edit_accepts

        with_faces = json.dumps([name for name in DEGRADATIONS if "faces" in actions.editing_task(name).edit_accepts])
        shown = f"[kind === 'factor', kind !== 'mask_image', {with_faces}.includes(kind)]"
        apply = f"(kind) => {shown}.map((visible) => ({{ __type__: 'update', visible }}))"
        self.degradation.change(None, self.degradation, [self.factor, confine, self.faces], js=apply, **events.PRIVATE)


class EditTab(_Degrading):
    def __init__(self, canvas: gr.HTML) -> None:
        with gr.Tab("Edit", id="edit"):
            super().__init__("edit", canvas)
            self.add_prompt("Edit", examples.EXAMPLES[0].prompt)
            self.add_degradation("factor")
            with self.more():
                self.add_guidance()

        def act(canvas, degradation, factor, faces, *values):
            return actions.edit(degradation, events.given(canvas, faces), _guidance(canvas, *values), factor)

        self.run(act, [self.degradation, self.factor, self.faces, *self.guidance])


class CompareTab(_Degrading):
    def __init__(self, canvas: gr.HTML) -> None:
        with gr.Tab("Compare", id="compare"):
            super().__init__("compare", canvas)
            with gr.Row(elem_classes="ti-ask"):
                prompts = gr.Textbox(texts.COMPARE_EXAMPLE, lines=2, scale=3, **self._labels("prompts"))
                betas = gr.Textbox("0 0.5 1", scale=2, **self._labels("betas"))
                self.add_button("Compare")
            self.status = status_line("compare-status")
            gr.Markdown(texts.HELP["compare"], elem_classes="ti-help")
            self.add_degradation("colors")
            with self.more():
                self.add_seed()

        def act(canvas, degradation, factor, faces, lines, strengths, seed):
            if not isinstance(lines, str) or not isinstance(strengths, str):
                raise ValueError("prompts and betas must be texts.")
            try:
                betas = [float(word) for word in strengths.replace(",", " ").split()]
            except ValueError as error:
                raise ValueError(texts.NOT_NUMBERS.format(strengths[:80])) from error
            sentences = [line for line in lines.splitlines() if line.strip()] or [""]
            return actions.compare(degradation, events.given(canvas, faces), sentences, betas, seed, factor)

        self.run(act, [self.degradation, self.factor, self.faces, prompts, betas, self.seed])


def forget_examples(canvas: gr.HTML, made: dict[str, Tab]) -> None:
    """Takes the examples' sentences and soft edge away once a visitor opens an image of their own."""
    fields = [tab.fields["prompt"] for tab in made.values() if "prompt" in tab.fields]
    fields += [tab.fields["feather"] for tab in made.values() if "feather" in tab.fields]
    known = {example.prompt: "" for example in examples.EXAMPLES} | {examples.SOFT_EDGE: settings.SOFT_EDGE}
    forget = f"(...values) => values.map((value) => ({json.dumps(known)})[value] ?? value)"  # at once: they may type
    canvas.upload(None, fields, fields, js=forget, **events.PRIVATE)


def about() -> str:
    """What the page is, and how people and programs use it."""
    text = read("about.md").replace("NAMES", ", ".join(task.checkpoint for task in TASKS.values() if task.checkpoint))
    return text if find_spec("mcp") else text[: text.index("## From an agent")]

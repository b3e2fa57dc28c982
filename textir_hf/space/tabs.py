"""The page's tabs: which fields each task has, and how they are wired to its action."""

from pathlib import Path

import gradio as gr
from huggingface_hub import ModelCard

import textir_hf
from textir_hf.space import actions, events, examples, networks, settings, storage, texts
from textir_hf.space.components import choices, editor, example_gallery, status_line
from textir_hf.space.masks import PARTS
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEGRADATIONS
from textir_hf.tasks.super_resolution import MAX_FACTOR, MIN_FACTOR

_CHECKPOINTS = Path(textir_hf.__file__).parent / "checkpoints"
_SHOWN_AT_ONCE = ("scale",)  # the other arguments stand among the settings
_QUIET = {"queue": False, "show_progress": "hidden", **events.PRIVATE}


def _argument(name: str, tab: str) -> gr.components.Component | None:
    """The field of an argument that only some tasks take; None where the page has none for it."""
    if name not in texts.ARGUMENTS:
        return None
    label, info = texts.ARGUMENTS[name]
    options = {"label": label, "info": info, "elem_id": f"{tab}-{name}"}
    if name == "box":
        return gr.Checkbox(False, **options)
    low, high = settings.RANGES[name]
    return gr.Slider(low, high, 4 if name == "scale" else low, step=1, **options)


class _Tab:
    """What the tabs that restore one image share: editor, sentence, button, status and settings."""

    def __init__(self, name: str, paints: bool, value: dict | None, results: gr.HTML) -> None:
        self.name, self.results, self.fields = name, results, {}
        gr.Markdown(texts.HELP.get(name, ""))
        self.editor = editor(name, paints, value)

    def add_prompt(self, value: str = "") -> None:
        options = {"placeholder": texts.PLACEHOLDER, "elem_id": f"{self.name}-prompt", "lines": 1, "max_lines": 3}
        self.prompt = self.fields["prompt"] = gr.Textbox(value, label=texts.PROMPT, **options)
        suggestions = choices("Suggestions", texts.SUGGESTIONS.get(self.name, ()), f"{self.name}-suggestions")
        suggestions.select(events.choice_of, None, self.prompt, **_QUIET)

    def add_button(self, label: str) -> None:
        with gr.Row():
            self.button = gr.Button(
                label, variant="primary", elem_id=f"{self.name}-run", elem_classes="ti-run", scale=4
            )
            self.cancel = gr.Button(texts.CANCEL, visible=False, elem_id=f"{self.name}-cancel", min_width=90, scale=1)
        self.status = status_line(f"{self.name}-status")

    def add_guidance(self) -> None:
        """Text strength, generated features, seed and variants."""
        self.beta = gr.Slider(0, settings.MAX_BETA, 1, step=0.05, label=texts.BETA, info=texts.BETA_INFO)
        self.automatic = gr.Checkbox(True, label=texts.AUTOMATIC, info=texts.AUTOMATIC_INFO)
        self.strength = gr.Slider(0, 1, 0.5, step=0.05, label=texts.STRENGTH, info=texts.STRENGTH_INFO)
        self.add_seed()
        self.variants = gr.Slider(1, 4, 1, step=1, label=texts.VARIANTS, info=texts.VARIANTS_INFO)
        names = ("beta", "automatic", "strength", "variants")
        self.fields |= {name: getattr(self, name) for name in names}

    def add_seed(self) -> None:
        with gr.Row():
            options = {"precision": 0, "minimum": 0, "maximum": settings.MAX_SEED, "elem_id": f"{self.name}-seed"}
            self.seed = self.fields["seed"] = gr.Number(0, label=texts.SEED, info=texts.SEED_INFO, **options)
            dice = gr.Button(texts.DICE, elem_id=f"{self.name}-dice", min_width=120)
        dice.click(events.dice, None, self.seed, **_QUIET)

    def guidance(self) -> list:
        """The fields of `_guidance`, in its order."""
        return [self.prompt, self.beta, self.automatic, self.strength, self.seed, self.variants]

    def run(self, function, inputs: list, finish=events.shown, output=None) -> None:
        """Lets the button run a function of the editor's value and `inputs`."""
        output = self.results if output is None else output
        editors = [self.editor] if self.editor else []
        take = f"async (canvas, ...rest) => [textirEditors['{self.name}'].value(), ...rest]" if editors else None
        event = self.button.click(
            events.streamed(function, finish),
            [*editors, *inputs],
            [output, self.status, self.cancel],
            js=take,
            show_progress="minimal",
            show_progress_on=self.status,
            **events.QUEUED,
            **events.PRIVATE,
        )
        self.cancel.click(
            events.cancelled, None, [self.status, self.cancel], cancels=event, queue=False, **events.PRIVATE
        )


def _guidance(prompt, beta, automatic, strength, seed, variants) -> actions.Guidance:
    return actions.Guidance(prompt, beta, None if automatic else strength, seed, variants)


class TaskTab(_Tab):
    """The tab of a task, with the arguments that the task takes."""

    def __init__(self, task: Task, results: gr.HTML) -> None:
        items = examples.of(task.name)
        with gr.Tab(task.command.capitalize(), id=task.command):
            first = {"image": items[0].shown["before"], "boxes": items[0].boxes} if items else None
            paints = "mask_image" in (*task.requires, *task.accepts)
            super().__init__(task.command, paints, first, results)
            self.add_prompt(items[0].prompt if items else "")
            known = {}
            for name in _SHOWN_AT_ONCE:
                if name in (*task.requires, *task.accepts):
                    known[name] = _argument(name, task.command)
            self.add_button(task.command.capitalize())
            if paints:
                parts = choices(texts.PARTS, PARTS, f"{task.command}-parts")
                parts.select(events.mask_part, self.editor, [self.editor, self.status], **_QUIET)
            with gr.Accordion(
                texts.SETTINGS, open=False, elem_id=f"{task.command}-settings", elem_classes="ti-settings"
            ):
                for name in (*task.requires, *task.accepts):
                    if name not in _SHOWN_AT_ONCE and (box := _argument(name, task.command)):
                        known[name] = box
                self.add_guidance()
                names, about = networks.offered()[task.name], {"label": texts.CHECKPOINT, "info": texts.CHECKPOINT_INFO}
                self.checkpoint = gr.Dropdown(names, value=names[0], **about)
            self.fields |= known
            if items:
                gallery, names = example_gallery(items, f"{task.command}-examples"), list(known)
                outputs = [self.editor, results, self.prompt, *known.values()]
                gallery.select(events.example_picker(items, names), None, outputs, **_QUIET)

        def act(canvas, *values):
            guidance, checkpoint, arguments = (
                _guidance(*values[:6]),
                values[6],
                dict(zip(known, values[7:], strict=True)),
            )
            path = events.image_of(canvas)
            return actions.restore(task, path, events.mask_of(canvas), guidance, checkpoint, arguments)

        self.run(act, [*self.guidance(), self.checkpoint, *known.values()])


class _DegradingTab(_Tab):
    """What edits and comparisons share: what is taken away, and where."""

    def add_degradation(self) -> None:
        kinds = [(texts.DEGRADATIONS[name], name) for name in DEGRADATIONS]
        options = {"label": texts.DEGRADATION, "info": texts.DEGRADATION_INFO, "elem_id": f"{self.name}-degradation"}
        self.degradation = self.fields["degradation"] = gr.Radio(kinds, value="factor", **options)
        options = {"label": texts.FACTOR, "info": texts.FACTOR_INFO, "elem_id": f"{self.name}-factor"}
        self.factor = self.fields["factor"] = gr.Slider(MIN_FACTOR, MAX_FACTOR, 8, step=1, **options)
        confine = gr.Checkbox(False, label=texts.CONFINE, info=texts.CONFINE_INFO, elem_id=f"{self.name}-confine")
        paint = f"(kind, confined) => textirEditors['{self.name}'].paint(kind === 'region' || confined)"
        gr.on([self.degradation.change, confine.change], None, [self.degradation, confine], None, js=paint)
        self.degradation.change(
            lambda kind: (gr.Slider(visible=kind == "factor"), gr.Checkbox(visible=kind != "region")),
            self.degradation,
            [self.factor, confine],
            **_QUIET,
        )


class EditTab(_DegradingTab):
    """Takes something away from a good image and restores it."""

    def __init__(self, results: gr.HTML) -> None:
        with gr.Tab("Edit", id="edit"):
            super().__init__("edit", False, None, results)
            self.add_degradation()
            self.add_prompt()
            self.add_button("Edit")
            with gr.Accordion(texts.SETTINGS, open=False, elem_id="edit-settings", elem_classes="ti-settings"):
                self.add_guidance()

        def act(canvas, degradation, factor, *values):
            path, mask = events.image_of(canvas), events.mask_of(canvas)
            return actions.edit(degradation, path, mask, _guidance(*values), factor)

        self.run(act, [self.degradation, self.factor, *self.guidance()])


class CompareTab(_DegradingTab):
    """Edits one image under several sentences and text strengths."""

    def __init__(self, results: gr.HTML) -> None:
        with gr.Tab("Compare", id="compare"):
            super().__init__("compare", False, None, results)
            self.add_degradation()
            options = {"label": texts.COMPARE_PROMPTS, "info": texts.COMPARE_PROMPTS_INFO, "lines": 3}
            prompts = gr.Textbox(texts.COMPARE_EXAMPLE, elem_id="compare-prompts", **options)
            options = {"label": texts.COMPARE_BETAS, "info": texts.COMPARE_BETAS_INFO}
            betas = gr.Textbox("0 0.5 1", elem_id="compare-betas", **options)
            self.add_button("Compare")
            with gr.Accordion(texts.SETTINGS, open=False, elem_classes="ti-settings"):
                self.add_seed()

        def act(canvas, degradation, factor, lines, strengths, seed):
            path, mask = events.image_of(canvas), events.mask_of(canvas)
            return actions.compare(degradation, path, mask, *_axes(lines, strengths), seed, factor)

        self.run(act, [self.degradation, self.factor, prompts, betas, self.seed])


def _axes(lines: object, strengths: object) -> tuple[list[str], list[float]]:
    """Sentences and text strengths, as they are written in the fields."""
    if not isinstance(lines, str) or not isinstance(strengths, str):
        raise ValueError("prompts and betas must be texts.")
    try:
        betas = [float(word) for word in strengths.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(texts.NOT_NUMBERS.format(strengths[:80])) from error
    return [line for line in lines.splitlines() if line.strip()] or [""], betas


class BatchTab(_Tab):
    """Several files with one sentence, for tasks that need no mask."""

    def __init__(self) -> None:
        able = [t for t in TASKS.values() if t.checkpoint and "mask_image" not in t.requires]
        with gr.Tab("Batch", id="batch"):
            self.name, self.editor, self.fields = "batch", None, {}
            gr.Markdown(texts.HELP["batch"])
            files = gr.File(file_count="multiple", label=texts.BATCH_FILES, elem_id="batch-files", height=160)
            kinds = [(t.command.capitalize(), t.name) for t in able]
            task = gr.Radio(kinds, value=able[0].name, label=texts.BATCH_TASK, elem_id="batch-task")
            scale = _argument("scale", "batch")
            self.add_prompt()
            self.add_button("Run")
            ready = gr.File(label=texts.BATCH_ZIP, elem_id="batch-zip", interactive=False, visible=False)

        def takes_scale(name):
            return gr.Slider(visible="scale" in TASKS[name].requires)

        task.change(takes_scale, task, scale, **_QUIET)

        def act(paths, name, scale, prompt):
            if not isinstance(paths, list) or name not in [t.name for t in able]:
                raise ValueError(texts.NO_IMAGE)
            given = [storage.given_file(path, texts.NO_IMAGE) for path in paths]
            arguments = {"scale": scale} if "scale" in TASKS[name].requires else {}
            return len(given), *actions.batch(TASKS[name], given, actions.Guidance(prompt), arguments)

        def finish(outcome):
            total, archive, failed = outcome
            value = gr.File(archive["path"] if archive else None, visible=archive is not None)
            return value, " ".join([texts.BATCH_DONE.format(total - len(failed), total), *failed])

        self.run(act, [files, task, scale, self.prompt], finish, ready)


def about() -> str:
    """What the page is, how programs use it, and the cards of the embedded checkpoints without metadata and images."""
    names = [task.checkpoint for task in TASKS.values() if task.checkpoint]
    cards = [ModelCard.load(_CHECKPOINTS / name / "README.md").text.strip() for name in names]
    lines = "\n\n".join([texts.ABOUT, texts.SHORTCUTS, texts.API, *cards]).splitlines()
    return "\n".join(line for line in lines if not line.startswith("!["))

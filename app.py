"""The Space: paint a mask, describe the result, see it.

python app.py          # with the embedded checkpoints, at http://127.0.0.1:7860
TEXTIR_CHECKPOINTS="owner/name folder" python app.py
"""

import os
import time
from importlib.util import find_spec

from textir_hf.space import storage

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
storage.open_folder()  # before Gradio reads where its files go

import gradio as gr  # noqa: E402

from textir_hf.space import endpoints, events, examples, networks, progress, texts  # noqa: E402
from textir_hf.space.components import no_addresses, numbered, read, results_view, status_line, theme  # noqa: E402
from textir_hf.space.tabs import BatchTab, CompareTab, EditTab, TaskTab, about  # noqa: E402
from textir_hf.tasks import TASKS  # noqa: E402

QUEUE = 200
SESSIONS = 32  # Gradio keeps a copy of the page for each


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as page:
        gr.HTML(texts.INTRO, elem_classes="ti-head", apply_default_css=False)
        loading = status_line("loading")
        page.load(events.readiness, None, loading, show_progress="hidden", concurrency_limit=None, **events.PRIVATE)
        with gr.Row():
            left = gr.Column(scale=5, min_width=320)
            with gr.Column(scale=5, min_width=320):
                first = examples.EXAMPLES[0]
                results = results_view(numbered({"results": [first.shown], "columns": 0, "still": True}))
        with left:
            with gr.Tabs(elem_id="tabs") as tabs:
                made = {task.command: TaskTab(task, results) for task in TASKS.values() if task.checkpoint}
                made |= {"edit": EditTab(results), "compare": CompareTab(results)}
                BatchTab()
                with gr.Tab("About", id="about"):
                    gr.Markdown(about())
            events.restore_settings(page, tabs, made)
        endpoints.register(events.QUEUED)
    no_addresses(page)
    return page.queue(max_size=QUEUE)


def main() -> None:
    """Serves the page; the networks load behind its first paint."""
    page = build()
    options = {"max_file_size": "20mb", "footer_links": ["api"], "run_history": False, "ssr_mode": False}
    options |= {"state_session_capacity": SESSIONS, "mcp_server": find_spec("mcp") is not None}
    style = f"<style>{read('page.css')}</style>"  # as `css=`, Gradio would rewrite what holds for phones alone
    page.launch(theme=theme(), head=style, prevent_thread_lock=True, **options)
    storage.clean_up()
    networks.load_in_background()
    try:
        while True:
            time.sleep(3600)
    finally:
        progress.stop_all()
        page.close()


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(str(error)) from error

"""The Space: paint a mask, describe the result, see it.

python app.py          # with the embedded checkpoints, at http://127.0.0.1:7860
TEXTIR_CHECKPOINTS="owner/name folder" python app.py
"""

import os
import signal
import sys
import threading
import time
from importlib.util import find_spec

from textir_hf.space import storage

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
storage.open_folder()  # before Gradio reads where its files go

import gradio as gr  # noqa: E402

from textir_hf.space import batch, endpoints, events, networks, progress, tabs, texts  # noqa: E402
from textir_hf.space.components import WEB, no_addresses, own_head, read, status_line, theme  # noqa: E402
from textir_hf.tasks import TASKS  # noqa: E402

QUEUE = 200
SESSIONS = 32  # Gradio keeps a copy of the page for each


def build() -> gr.Blocks:
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as page:
        gr.HTML(texts.INTRO, elem_classes="ti-head", apply_default_css=False)
        loading = status_line("loading")
        page.load(events.readiness, None, loading, show_progress="hidden", concurrency_limit=None, **events.PRIVATE)
        canvas = tabs.canvas()
        with gr.Tabs(elem_id="tabs") as chosen:
            made = {task.command: tabs.TaskTab(task, canvas) for task in TASKS.values() if task.checkpoint}
            made |= {"edit": tabs.EditTab(canvas), "compare": tabs.CompareTab(canvas)}
            batch.BatchTab(canvas, chosen)
            with gr.Tab("About", id="about"):
                gr.Markdown(tabs.about())
        tabs.forget_examples(canvas, made)
        events.restore_settings(page, chosen, made, canvas)
        endpoints.register(page, events.QUEUED)
    no_addresses(page)
    return page.queue(max_size=QUEUE)


def main() -> None:
    """Serves the page; the networks load behind its first paint."""
    page = build()
    options = {"max_file_size": "20mb", "footer_links": ["api"], "run_history": False, "ssr_mode": False}
    mcp = find_spec("mcp") is not None
    options |= {"state_session_capacity": SESSIONS, "mcp_server": mcp}
    options |= {"favicon_path": str(WEB / "favicon.png"), "app_kwargs": endpoints.REFUSALS}
    own_head()
    unused = "" if mcp else ".snippets .snippet:has(img[src*='/mcp']) {display: none}"
    style = f"<style>{read('page.css')}{unused}</style>"  # as `css=`, Gradio would rewrite what holds for phones alone
    page.launch(theme=theme(), head=style, prevent_thread_lock=True, **options)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit())
    threading.Thread(target=networks.load_all, daemon=True).start()
    try:
        while True:
            time.sleep(300)
            storage.remove_old()
    finally:
        progress.stop_all()
        page.close()


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(str(error)) from error

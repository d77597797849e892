"""Puts the application together and serves it."""

from __future__ import annotations

import logging
import os
from typing import Any

import gradio as gr

from pipelines.errors import EaselError
from pipelines.settings import Settings, load_settings
from serving.build import build_backend
from ui.page import build_page
from ui.playground import load_playground
from ui.theme import FAVICON, SCRIPT, STYLE, build_theme

MAX_THREADS = 80  # a waiting visitor's stream rests in one of them


def launch_options(settings: Settings) -> dict[str, Any]:
    """Keywords of ``Blocks.launch``: what is shown, and what never leaves the machine."""
    return {
        "server_name": settings.host, "server_port": settings.port,
        "root_path": settings.root_path or None, "share": False, "inbrowser": False,
        "theme": build_theme(), "favicon_path": FAVICON,
        # Not by css_paths: Gradio writes every rule twice and media queries in one way only.
        "head": (f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
                 f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"),
        "footer_links": ["api"], "run_history": False, "ssr_mode": False, "pwa": False,
        "mcp_server": False, "show_error": False, "enable_monitoring": False,
        "max_file_size": int(settings.max_upload), "max_threads": MAX_THREADS,
    }


def serve(page: gr.Blocks, settings: Settings) -> str:
    """Serve a page from a thread of its own.

    Args:
        page: made by ``ui.page.build_page``.
        settings: where, and how much may be uploaded.

    Returns:
        The page's address.

    Raises:
        EaselError: the port is taken, or the host is not this machine's.
    """
    # Gradio's own queue lets everything through: waiting is the backend's.
    page.queue(default_concurrency_limit=None, api_open=False)
    try:
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True,
                                    **launch_options(settings))
    except OSError:
        raise EaselError(f"Easel cannot listen on {settings.host}, port {settings.port}: choose "
                         "others with EASEL_HOST and EASEL_PORT.") from None
    return address


def main() -> None:
    """Serve the page as the ``EASEL_*`` settings say, until the process is ended."""
    settings = load_settings()
    logging.basicConfig(level=settings.log_level,
                        format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Uploads and finished pictures; read when components are made.
    os.environ.setdefault("GRADIO_TEMP_DIR", str((settings.data_dir / "cache").resolve()))
    backend = build_backend(settings)
    page = build_page(load_playground(backend.registry, backend))
    address = serve(page, settings)
    print(f"Easel is at {address}", flush=True)
    try:
        page.block_thread()
    finally:
        backend.close()

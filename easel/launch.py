"""Puts the application together and serves it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from easel.compare.votes import VoteStore
from easel.compare.word_lists import FOLDER as WORD_LISTS
from easel.doors.refusals import refusal
from easel.doors.routes import open_doors
from easel.garbage import without_collection
from easel.guard.cache_folder import CacheFolder
from easel.guard.cache_room import open_room
from easel.guard.call_net import log_in_one_way
from easel.guard.connections import bound_connections
from easel.guard.cut_uploads import note_upload_parts
from easel.guard.error_net import ErrorNet
from easel.guard.held_bodies import HeldBodies
from easel.guard.host_check import HostCheck
from easel.guard.origins import Origins, answer_for_gradio
from easel.guard.request_check import RequestCheck
from easel.guard.response_headers import ResponseHeaders
from easel.guard.sessions import MAX_SESSIONS, Sessions
from easel.guard.upload_progress import bound_upload_progress
from easel.guard.visitors import VisitorCookie, requester
from easel.history.build import open_history
from easel.history.store import History
from easel.own_files import sweep_files
from easel.presets import FOLDER as PRESETS
from easel.search.purged import forget_purged
from easel.serving.build import build_backend
from easel.serving.interface import Backend
from easel.serving.logs import configure_logging
from easel.serving.paused_runs import PausedRuns
from easel.settings import Settings, load_settings, unknown_settings
from easel.ui.compare.word_lists import word_list_routes
from easel.ui.document import document_routes
from easel.ui.generate.presets import preset_routes
from easel.ui.health_routes import health_routes
from easel.ui.history.routes import history_routes
from easel.ui.page import build_page
from easel.ui.parts.page_words import page_i18n
from easel.ui.parts.theme import FAVICON, SCRIPT, STYLE, build_theme
from easel.ui.parts.videos import video_routes
from easel.ui.playground import load_playground
from easel.ui.qr_route import qr_route
from easel.ui.readers import Readers, ReaderWatch
from easel.ui.wall.routes import wall_routes
from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)
MAX_THREADS = 80  # a waiting visitor's stream rests in one of them
# How often Gradio looks into its queue. At its own 1 ms an idle server keeps a laptop's core awake.
QUEUE_POLL_S = 0.02
SWEEP_CACHE_S = 600.0
# A server has 20 s to end: those of the device's last step, those in which readers hear of it, and
# five that uvicorn may wait for connections.
DRAIN_S, DEVICE_S, LAST_WORD_S = 19.0, 12.0, 0.5


def launch_options(page: gr.Blocks, settings: Settings, cache: CacheFolder, readers: Readers,
                   history: History | None = None,
                   backend: Backend | None = None,
                   more_routes: Sequence[BaseRoute] = ()) -> dict[str, Any]:
    """Keywords of ``Blocks.launch``: what is shown, and what never leaves the machine."""
    held = HeldBodies()
    routes: list[BaseRoute] = [*document_routes(), qr_route(),
                               *video_routes(Path(get_upload_folder())),
                               *more_routes]
    if history is not None:
        routes = [*routes, *history_routes(history)]
    if backend is not None:
        doors = open_doors(backend, history, settings, cache, held)
        routes = [*routes, *health_routes(backend, settings.metrics), *doors.routes,
                  *preset_routes(settings.data_dir, backend.registry),
                  *word_list_routes(settings.data_dir)]
        page.extra_startup_events.extend(doors.starts)
    # A Space is shown in a frame of the site that hosts it.
    frames = settings.frame_ancestors or ("https://huggingface.co" if "SPACE_ID" in os.environ
                                          else "")
    middleware = [
        Middleware(ResponseHeaders, frames),
        Middleware(HostCheck, settings.host, settings.host_names(), refusal),
        Middleware(Origins, settings.host_names()),
        Middleware(ErrorNet),
        Middleware(RequestCheck, cache,
                   lambda: {number: str(fn.api_name) for number, fn in page.fns.items()}, held),
        Middleware(ReaderWatch, readers),
        Middleware(VisitorCookie),
    ]
    return {
        "app_kwargs": {"middleware": middleware, "routes": routes, "openapi_url": None},
        "server_name": settings.host, "server_port": settings.port,
        "root_path": settings.root_path or None, "share": False, "inbrowser": False,
        "theme": build_theme(), "favicon_path": FAVICON,
        # Not by css_paths: Gradio writes every rule twice and media queries in one way only.
        "head": (f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
                 f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"),
        "footer_links": ["api"], "run_history": False, "ssr_mode": False, "pwa": False,
        "mcp_server": False, "state_session_capacity": MAX_SESSIONS,
        "show_error": False, "enable_monitoring": False,
        "max_file_size": int(settings.max_upload), "max_threads": MAX_THREADS,
        # Not asked for the page itself within 3 s, which a busy machine misses and is then refused
        # for; the request of the start-up events, which waits, has shown that the address answers.
        "_frontend": False,
    }


def serve(page: gr.Blocks, settings: Settings, history: History | None = None,
          backend: Backend | None = None, cache: CacheFolder | None = None,
          more_routes: Sequence[BaseRoute] = ()) -> str:
    """Serve a page from a thread of its own.

    Args:
        page: made by ``easel.ui.page.build_page``.
        settings: where, and how much may be uploaded.
        history: whose pictures are served; the page's own, None where it has none.
        backend: of which /healthz and /metrics tell; None for neither.
        cache: where uploads go; the page's own where None.
        more_routes: to go before the page's own, such as ``easel.ui.wall.routes.wall_routes``.

    Returns:
        The page's address.

    Raises:
        EaselError: the port is taken, or the host is not this machine's.
    """
    # Gradio's own queue lets everything through: waiting is the backend's.
    answer_for_gradio()
    bound_upload_progress()
    note_upload_parts()
    page.queue(default_concurrency_limit=None, api_open=False)
    readers = Readers()
    page.extra_startup_events.append(partial(readers.start, page))
    page._queue.sleep_when_free = QUEUE_POLL_S
    try:
        if backend is not None:
            backend.requester = requester
        cache = cache or open_cache(page, settings)
        open_room(cache)
        if history is not None:
            history.on_purge = cache.forget
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, i18n=page_i18n(page),
                                    **launch_options(page, settings, cache, readers,
                                                     history, backend, more_routes))
    except OSError:
        raise EaselError("Easel cannot listen on {}, port {}: choose others with EASEL_HOST and "
                         "EASEL_PORT.", settings.host, settings.port) from None
    Sessions(page)
    bound_connections(page)
    log_in_one_way()
    return address


def open_cache(page: gr.Blocks, settings: Settings) -> CacheFolder:
    """The cache of a page, in which its examples stay."""
    def kept() -> set[str]:
        return {path for block in page.blocks.values() for path in block.keep_in_cache}

    return CacheFolder(Path(get_upload_folder()), int(settings.cache_quota), kept,
                       lambda: tuple(page.temp_file_sets))


def _sweep(history: History, backend: Backend, cache: CacheFolder, data_dir: Path) -> None:
    try:
        history.sweep()
    except EaselError as error:
        logger.warning("The history was not swept: %s", error)
    while True:
        cache.sweep()
        if backend.paused is not None:
            _sweep_paused(backend.paused)
        sweep_files(data_dir / PRESETS)
        sweep_files(data_dir / WORD_LISTS)
        try:
            forget_erased(history, cache)
            forget_purged(history, data_dir)
        except EaselError as error:
            logger.warning("Not all that was deleted for good could be swept: %s", error)
        time.sleep(SWEEP_CACHE_S)


def _sweep_paused(runs: PausedRuns) -> None:
    try:
        runs.sweep()
    except EaselError as error:
        logger.warning("The paused runs were not swept: %s", error)


def forget_erased(history: History, cache: CacheFolder) -> None:
    """Remove from the cache what was deleted for good by any process that shares the history.

    Raises:
        HistoryError: the history cannot be read.
    """
    erased = history.erased()
    cache.forget({each.sha256: each.size_bytes for each in erased},
                 {each.sha256: each.erased_s for each in erased})


def _take_over_votes(votes: VoteStore, settings: Settings) -> None:
    try:
        moved = votes.take_over(settings.data_dir.resolve())
    except EaselError as error:
        logger.warning("%s", error)
    else:
        if moved:
            logger.info("%d votes of an older Easel came into the history's database.", moved)


def drain(page: gr.Blocks, backend: Backend, history: History) -> None:
    """End a server so that nothing is lost: within ``DRAIN_S`` seconds, whatever happens.

    No more jobs are taken; what runs is paused where it can be and else stopped, with its pictures
    so far in the history; whoever reads a run hears of it, for which the page keeps serving.
    """
    last = threading.Timer(DRAIN_S, _give_up)
    last.daemon = True
    last.start()
    try:
        logger.info("Easel is shutting down: %d running, %d waiting.", *backend.queue())
    except EaselError as error:
        logger.warning("Easel is shutting down: %s", error)
    device = threading.Thread(target=backend.close, name="drain", daemon=True)
    device.start()
    device.join(DEVICE_S)
    if device.is_alive():
        backend.abort_jobs()
    time.sleep(LAST_WORD_S)
    page.close(verbose=False)
    history.close()
    logger.info("Easel has shut down.")


def _give_up() -> None:
    """A step, a transfer or a connection takes longer than a server may take to end."""
    logger.warning("Easel ends although something is still running.")
    logging.shutdown()
    os._exit(0)


def main() -> None:
    """Serve the page as the ``EASEL_*`` settings say, until Ctrl+C or SIGTERM ends it."""
    os.umask(0o077)  # what visitors draw and upload is not for other accounts of the machine
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    logging.captureWarnings(True)
    for fault in unknown_settings():
        logger.warning("%s", fault)
    with without_collection():
        history = open_history(settings)
        backend = build_backend(settings, history=history)
        playground = load_playground(backend.registry, backend, history, settings)
        _take_over_votes(playground.votes, settings)
        page = build_page(playground)
        ended = threading.Event()
        # What ``docker stop``, systemd and Spaces send; before the page can start anything.
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        cache = open_cache(page, settings)
        address = serve(page, settings, history, backend, cache, wall_routes(playground))
        gc.freeze()  # the page stays as long as the process
    threading.Thread(target=_sweep, args=(history, backend, cache, settings.data_dir),
                     name="sweep", daemon=True).start()
    print(f"Easel is at {address}", flush=True)
    with suppress(KeyboardInterrupt):
        ended.wait()
    drain(page, backend, history)

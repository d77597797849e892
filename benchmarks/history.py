"""How long the history takes to answer: 10,000 pictures, first and last page, filters, one picture.

Each question is asked as the page asks it, and counts until its HTML is there: what it takes at the
server, without the browser.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.roofline import machine
from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.records import Filters
from easel.history.store import History
from easel.history.tables import Picture, Weights
from easel.ui.history.render import render_gallery
from pipelines.registry import Registry

PICTURES, REPEATS, BATCH = 10_000, 20, 1000
TARGET_MS = 200.0
OWNER = "visitor"
WORDS = ("apple", "car", "cat", "dog", "house", "tree", "boat", "chair", "guitar", "cake")


def fill(history: History, count: int) -> None:
    """Put rows into the database as ``History.add`` does; the files themselves stay out."""
    for first in range(0, count, BATCH):
        with history.database.write() as session:
            for number in range(first, min(first + BATCH, count)):
                session.add_all(_rows(number))


def _rows(number: int) -> list[Any]:
    word, other = WORDS[number % 10], WORDS[number // 10 % 10]
    prompt = f"a {word} next to a {other}, picture {number}"
    models = {name: f"{number % 7:064x}" for name in (
        "embedded/dalle", "embedded/vqgan", "embedded/upscaler", "embedded/clip-ranker")}
    name = f"{number:032x}"
    facts = {"prompt": prompt, "options": {"guidance_scale": 2.0, "temperature": 0.3, "top_k": 64},
             "weights": models, "versions": {"torch": "2.15.0", "numpy": "2.4.6"}, "seed": number}
    picture = Picture(
        id=name, owner=OWNER if number % 20 else "another", sha256=f"{number:064x}",
        size_bytes=120_000, created_s=1.7e9 + number, deleted=number % 50 == 7, job_id="job",
        pipeline="dalle" if number % 4 else "vqgan_clip", prompt=prompt, search=prompt,
        seed=number, width_px=256, height_px=256, clip_score=0.2, rating=number % 6 or None,
        favourite=number % 30 == 3, facts=facts)
    return [picture, *(Weights(picture=name, model=model, sha256=digest, owner=picture.owner)
                       for model, digest in models.items())]


def milliseconds(work: Callable[[], Any], repeats: int = REPEATS) -> dict[str, float]:
    """Median and worst of several calls, in ms; the first, which warms up, counts as the worst
    may."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return {"median_ms": round(statistics.median(taken), 1), "worst_ms": round(max(taken), 1)}


def measure(history: History, repeats: int = REPEATS) -> dict[str, dict[str, float]]:
    """The questions that the page asks, each with the HTML that answers it."""
    registry = Registry()

    def gallery(filters: Filters, number: int = 1) -> str:
        return render_gallery(history.page(OWNER, filters, number), filters, registry)

    last = history.page(OWNER).pages
    questions: dict[str, Callable[[], Any]] = {
        "first page": lambda: gallery(Filters()),
        "page in the middle": lambda: gallery(Filters(), last // 2),
        "last page": lambda: gallery(Filters(), last),
        "text": lambda: gallery(Filters(text="guitar 42")),
        "model": lambda: gallery(Filters(model="embedded/vqgan")),
        "rating and generator": lambda: gallery(Filters(min_rating=4, pipeline="vqgan_clip")),
        "favourites": lambda: gallery(Filters(favourite=True)),
        "choices of the filters": lambda: (history.pipelines(OWNER), history.models(OWNER)),
        "one picture": lambda: history.family(OWNER, f"{1:032x}"),
        "used space": lambda: history.used_bytes(OWNER),
    }
    return {name: milliseconds(question, repeats) for name, question in questions.items()}


def history_figures(pictures: int = PICTURES, database_url: str = "") -> dict[str, Any]:
    """Fill a database in a temporary folder and ask it.

    Args:
        pictures: how many there are.
        database_url: an empty PostgreSQL database in place of SQLite.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = database_url or f"sqlite:///{Path(folder) / 'history.sqlite'}"
        history = History(Database(url), FileStore(Path(folder)))
        try:
            fill(history, pictures)
            figures = measure(history)
        finally:
            history.close()
    return {"machine": machine(torch.device("cpu")), "database": url.partition(":")[0],
            "pictures": pictures, "target_ms": TARGET_MS, "questions": figures}

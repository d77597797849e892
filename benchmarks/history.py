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
from typing import Any, cast

import torch
from sqlalchemy import Table, create_engine, literal, select

from benchmarks.roofline import machine
from easel.history.database import Database, upgrade
from easel.history.files import FileStore
from easel.history.records import COUNTED, Filters
from easel.history.store import History
from easel.history.tables import Picture, Weights
from easel.ui.history.render import render_gallery
from pipelines.registry import Registry

PICTURES, REPEATS, BATCH = 10_000, 20, 5000
TARGET_MS = 200.0
OWNER = "visitor"
WORDS = ("apple", "car", "cat", "dog", "house", "tree", "boat", "chair", "guitar", "cake")
MODELS = ("embedded/dalle", "embedded/vqgan", "embedded/upscaler", "embedded/clip-ranker")
DIGEST = "ab" * 32
BEFORE = "0007"  # the revision before the one that indexes what there is


def fill(url: str, count: int) -> float:
    """Make a history of many pictures: rows as ``History.add`` makes them, the files stay out.

    The rows go into the tables of an older Easel, which are then upgraded as anybody's would be.

    Args:
        url: of an empty database.
        count: of the pictures.

    Returns:
        Seconds of the upgrade.
    """
    pictures, weights = (cast("Table", each.__table__) for each in (Picture, Weights))
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        upgrade(connection, BEFORE)
    for first in range(0, count, BATCH):
        rows = [_row(number) for number in range(first, min(first + BATCH, count))]
        added = pictures.c.id.between(rows[0]["id"], rows[-1]["id"])
        with engine.begin() as connection:
            connection.execute(pictures.insert(), rows)
            for model in MODELS:
                connection.execute(weights.insert().from_select(
                    ["picture", "model", "sha256", "owner"],
                    select(pictures.c.id, literal(model), literal(DIGEST), pictures.c.owner)
                    .where(added)))
    start = time.perf_counter()
    Database(url).close()
    upgrade_s = time.perf_counter() - start
    if engine.dialect.name == "postgresql":  # as it does by itself before long
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    return upgrade_s


def _row(number: int) -> dict[str, Any]:
    word, other = WORDS[number % 10], WORDS[number // 10 % 10]
    prompt = f"a {word} next to a {other}, picture {number}"
    facts = {"prompt": prompt, "options": {"guidance_scale": 2.0, "temperature": 0.3, "top_k": 64},
             "weights": dict.fromkeys(MODELS, DIGEST), "seed": number,
             "versions": {"torch": "2.15.0", "numpy": "2.4.6"}}
    return {"id": f"{number:032x}", "owner": OWNER if number % 20 else "another",
            "sha256": f"{number:064x}", "size_bytes": 120_000, "created_s": 1.7e9 + number,
            "deleted": number % 50 == 7, "job_id": "job",
            "pipeline": "dalle" if number % 4 else "vqgan_clip", "prompt": prompt,
            "search": prompt, "seed": number, "width_px": 256, "height_px": 256,
            "clip_score": 0.2, "rating": number % 6 or None, "favourite": number % 30 == 3,
            "facts": facts}


def milliseconds(work: Callable[[], Any], repeats: int = REPEATS) -> dict[str, float]:
    """Median and worst of several calls, in ms; the first, which warms up, counts as the worst
    may. And the median of what they take of the processor, which a busy machine does not change;
    that of a database's server is not in it."""
    taken, spent = list[float](), list[float]()
    for _ in range(repeats):
        start, spent_s = time.perf_counter(), time.process_time()
        work()
        taken.append(1000 * (time.perf_counter() - start))
        spent.append(1000 * (time.process_time() - spent_s))
    return {"median_ms": round(statistics.median(taken), 1), "worst_ms": round(max(taken), 1),
            "cpu_ms": round(statistics.median(spent), 1)}


def measure(history: History, repeats: int = REPEATS) -> dict[str, dict[str, float]]:
    """The questions that the page asks, each with the HTML that answers it."""
    registry = Registry()

    def gallery(filters: Filters, number: int = 1) -> str:
        page = history.page(OWNER, filters, number, count_to=COUNTED)
        return render_gallery(page, filters, registry)

    newest = history.page(OWNER)
    last, found = newest.pages, newest.pictures[-1].seed
    questions: dict[str, Callable[[], Any]] = {
        "first page": lambda: gallery(Filters()),
        "page in the middle": lambda: gallery(Filters(), last // 2),
        "last page": lambda: gallery(Filters(), last),
        "text": lambda: gallery(Filters(text="guitar 42")),
        "text: a word of many pictures": lambda: gallery(Filters(text="guitar")),
        "text: words of no picture": lambda: gallery(Filters(text="guitar apple cat")),
        "text: the name of one picture": lambda: gallery(Filters(text=f"picture {found}")),
        "text: two letters": lambda: gallery(Filters(text="42")),
        "text: two letters of no picture": lambda: gallery(Filters(text="zz")),
        "model": lambda: gallery(Filters(model="embedded/vqgan")),
        "rating and generator": lambda: gallery(Filters(min_rating=4, pipeline="vqgan_clip")),
        "favourites": lambda: gallery(Filters(favourite=True)),
        "choices of the filters": lambda: (history.pipelines(OWNER), history.models(OWNER)),
        "one picture": lambda: history.family(OWNER, f"{1:032x}"),
        "used space": lambda: history.used_bytes(OWNER),
    }
    return {name: milliseconds(question, repeats) for name, question in questions.items()}


def history_figures(pictures: int = PICTURES, database_url: str = "", repeats: int = REPEATS,
                    ) -> dict[str, Any]:
    """Fill a database in a temporary folder and ask it.

    Args:
        pictures: how many there are.
        database_url: an empty PostgreSQL database in place of SQLite.
        repeats: of each question.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = database_url or f"sqlite:///{Path(folder) / 'history.sqlite'}"
        upgrade_s = fill(url, pictures)
        history = History(Database(url), FileStore(Path(folder)))
        try:
            figures = measure(history, repeats)
        finally:
            history.close()
    return {"machine": machine(torch.device("cpu")), "database": url.partition(":")[0],
            "pictures": pictures, "upgrade_s": round(upgrade_s, 2), "target_ms": TARGET_MS,
            "questions": figures}

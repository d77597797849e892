"""How fast the search is: 100,000 and 1,000,000 vectors, and embedding a folder.

Vectors are random, the worst case for an approximate index: no cluster helps it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.roofline import machine
from easel.search import approximate
from easel.search.collections import folder_collection
from easel.search.index import VectorIndex
from easel.search.query import nearest
from easel.search.searcher import Searcher
from easel.search.snapshot import Item, Snapshot
from easel.search.update import BATCH_SIZE, update_index
from easel.serving.backend import LocalBackend
from pipelines.models.checkpoints.ids import RANKER

DIM = 256  # of the embedded ranker
QUERIES = 50
HITS = 10
PART = 50_000


def random_vectors(count: int, seed: int, dim: int = DIM) -> np.ndarray:
    """(count, dim) float32 of unit length, evenly spread over all directions."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill_index(folder: Path, count: int) -> VectorIndex:
    """A real index on disk with random vectors."""
    index = VectorIndex.create(folder, "bench", "0" * 64, DIM)
    for start in range(0, count, PART):
        size = min(PART, count - start)
        items = [Item(str(start + n), "", 0, 0, float(start + n), "bench", "")
                 for n in range(size)]
        index.add(items, random_vectors(size, start))
    return index


def timed_ms(work: Callable[[np.ndarray], Any], queries: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of the time of a query, after a warm-up, in ms.

    The median of the processor's own time says what it would be on a machine without other work.
    """
    work(queries[0])
    taken, used = [], []
    for query in queries:
        started, busy = time.perf_counter(), time.process_time()
        work(query)
        taken.append(1000 * (time.perf_counter() - started))
        used.append(1000 * (time.process_time() - busy))
    return {"median_ms": float(np.median(taken)), "p95_ms": float(np.percentile(taken, 95)),
            "cpu_median_ms": float(np.median(used))}


def plain_numpy(snapshot: Snapshot, query: np.ndarray) -> np.ndarray:
    """The ``HITS`` nearest rows by comparing every vector, as anybody would write it."""
    scores = np.asarray(snapshot.vectors) @ query
    best = np.argpartition(-scores, HITS)[:HITS]
    return best[np.argsort(-scores[best])]


def search_speed(count: int, folder: Path) -> dict[str, Any]:
    """A query at the server, hits looked up, against plain NumPy, and its recall@10."""
    index = fill_index(folder / f"vectors-{count}", count)
    started = time.perf_counter()
    approximate.refresh(index)
    built_s = time.perf_counter() - started
    snapshot = index.snapshot()
    queries = random_vectors(QUERIES, 10**9)

    def serve(query: np.ndarray) -> None:
        picks, _ = nearest(snapshot, query, HITS)
        snapshot.items(picks.tolist())

    exact = [set(plain_numpy(snapshot, query).tolist()) for query in queries]
    found = [set(nearest(snapshot, query, HITS)[0].tolist()) for query in queries]
    recall = float(np.mean([len(a & b) / HITS for a, b in zip(exact, found, strict=True)]))
    served = timed_ms(serve, queries)
    plain = timed_ms(lambda query: plain_numpy(snapshot, query), queries)
    return {"vectors": count, "dim": DIM, "codes": count >= approximate.FROM_ROWS,
            "build_codes_s": built_s, "served": served, "plain_numpy": plain,
            "recall_at_10": recall, "times_plain_numpy": plain["median_ms"] / served["median_ms"]}


def own_rate(backend: LocalBackend, tile: np.ndarray, batches: int = 6) -> float:
    """Pictures a second that the ranker alone embeds in batches, as torch spreads them over cores.

    The pictures are decoded, squeezed and tensors already.
    """
    with backend.cache.lease(RANKER) as clip, torch.no_grad():
        side = clip.image_size
        square = np.array(Image.fromarray(tile).resize((side, side)))
        pixels = torch.from_numpy(square).to(clip.device).permute(2, 0, 1).float() / 255
        pixels = pixels.expand(BATCH_SIZE, -1, -1, -1).contiguous()
        clip.encode_image(pixels).cpu()
        started = time.perf_counter()
        for _ in range(batches):
            clip.encode_image(pixels).cpu()
        return batches * BATCH_SIZE / (time.perf_counter() - started)


def folder_rate(backend: LocalBackend, pictures: Path, indexes: Path) -> float:
    """Pictures a second when a folder is indexed anew, from its listing to the last commit."""
    collection = folder_collection(pictures, indexes)
    started = time.perf_counter()
    for _ in update_index(collection.folder, collection.files, backend, RANKER):
        pass
    taken_s = time.perf_counter() - started
    searcher = Searcher(backend)
    return len(searcher.snapshot(collection, searcher.features(RANKER))) / taken_s


def embedding_rate(backend: LocalBackend, folder: Path, pictures: int = 1024, turns: int = 7,
                   ) -> dict[str, Any]:
    """Pictures a second when a folder is indexed, against the model's own batch rate.

    A machine's speed drifts, so each turn measures the own rate on both sides of the folder's; the
    share is the median over the turns.
    """
    pictures_dir = folder / "pictures"
    pictures_dir.mkdir()
    samples = sorted((Path(__file__).parents[1] / "assets" / "samples").glob("*.png"))
    tiles = [np.asarray(Image.open(path).convert("RGB")) for path in samples]
    for n in range(pictures):  # each a file of its own, as the generators write them
        Image.fromarray(np.roll(tiles[n % len(tiles)], n, axis=1)).save(
            pictures_dir / f"{n:05}.png")
    own, indexed = [own_rate(backend, tiles[0])], []
    for turn in range(turns):
        indexed.append(folder_rate(backend, pictures_dir, folder / f"turn-{turn}"))
        own.append(own_rate(backend, tiles[0]))
    beside = [(before + after) / 2 for before, after in pairwise(own)]
    shares = [rate / alone for rate, alone in zip(indexed, beside, strict=True)]
    return {"pictures": pictures, "side_px": tiles[0].shape[0],
            "model_per_s": float(np.median(beside)), "folder_per_s": float(np.median(indexed)),
            "share": float(np.median(shares)), "shares": [round(share, 3) for share in shares]}


def search_figures(backend: LocalBackend, counts: tuple[int, ...] = (99_999, 100_000, 1_000_000),
                   ) -> dict[str, Any]:
    """What ``search.json`` holds."""
    with tempfile.TemporaryDirectory(prefix="easel-search-") as name:
        folder = Path(name)
        embedding = embedding_rate(backend, folder)
        print(embedding, flush=True)
        found = []
        for count in counts:
            found.append(search_speed(count, folder))
            print(found[-1], flush=True)
    return {"machine": machine(backend.cache.device), "torch_threads": torch.get_num_threads(),
            "embedding": embedding, "search": found}

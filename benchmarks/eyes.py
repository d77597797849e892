"""Whether the judge and the ranker agree with eyes on pictures that the generators drew.

Pictures of every generator lie in ``benchmarks/eyes`` with what a person said of
them before asking the judge: does the picture show what its prompt asks for? They are kept as
pictures, so that every later judge and ranker can be asked about the same ones. Writes
``benchmarks/results/eyes.json``.

Source: Cohen, "A Coefficient of Agreement for Nominal Scales" (1960); Hanley and McNeil, "The
Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve" (1982).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.compose import weights_of
from benchmarks.judge.files import TrainedJudge
from benchmarks.pictures import RUNS_DIR, PictureStore, interleaved
from benchmarks.scoring import score
from benchmarks.sheets import contact_sheet
from benchmarks.tasks import TASKS, TaskPrompt, task_prompts
from easel.serving.backend import LocalBackend
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.registry import Registry
from pipelines.world.concepts import concepts_by_id

EYES_DIR = Path(__file__).with_name("eyes")
LABELS = "labels.json"
PICTURES = 67  # of each generator at most, tasks in turn
COLUMNS, SIDE_PX = 8, 256


def asked() -> list[TaskPrompt]:
    """The prompts of the pictures, in their order."""
    prompts = task_prompts(concepts_by_id())
    return interleaved({task: prompts[task] for task in TASKS})[:PICTURES]


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Agreement beyond chance of two who judged the same pictures; 1 where both are of one mind.

    Args:
        first, second: as many answers each, at least one.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    agreed = float((a == b).mean())
    by_chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return 1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def tiles(path: Path, count: int) -> np.ndarray:
    """The pictures of a sheet, (count, SIDE_PX, SIDE_PX, 3) uint8, row by row."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    rows = len(pixels) // SIDE_PX
    cells = pixels.reshape(rows, SIDE_PX, COLUMNS, SIDE_PX, 3).swapaxes(1, 2)
    return cells.reshape(-1, SIDE_PX, SIDE_PX, 3)[:count]


def write_tiles(images: Sequence[np.ndarray], path: Path) -> None:
    """Lay pictures (SIDE_PX, SIDE_PX, 3) uint8 out as a sheet that ``tiles`` reads."""
    rows = -(-len(images) // COLUMNS)
    sheet = np.full((rows * SIDE_PX, COLUMNS * SIDE_PX, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // COLUMNS * SIDE_PX, i % COLUMNS * SIDE_PX
        sheet[y:y + SIDE_PX, x:x + SIDE_PX] = image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, quality=92, method=6)


def draw_for_eyes(name: str, options: Mapping[str, Any], minutes: float | None,
                  registry: Registry, backend: LocalBackend, folder: Path = EYES_DIR,
                  of: int = 1) -> None:
    """Draw a generator's pictures anew; whoever does takes its labels away and looks again.

    The sheets to look at, with their prompts and without any verdict, are in ``runs/compose``.

    Args:
        name: the generator.
        options: its options, where they differ from the defaults.
        minutes: time for drawing, None for no limit; the first pictures that there are count.
        registry: the generators.
        backend: where they run.
        folder: where pictures and labels are kept.
        of: pictures of each prompt, by seeds that follow each other.
    """
    fingerprints = weights_of(backend.cache, registry.get(name).models)
    store = PictureStore(backend, name, options, fingerprints)
    store.fill([(prompt, of) for prompt in asked()], minutes)
    drawn = list(takewhile(lambda pair: pair[1] is not None and len(pair[1].images) >= of,
                           [(prompt, store.read(prompt)) for prompt in asked()]))
    prompts = [prompt for prompt, _ in drawn for _ in range(of)]
    images = [image for _, kept in drawn if kept is not None for image in kept.images[:of]]
    write_tiles(images, folder / f"{name}.webp")
    for start in range(0, len(images), 4 * COLUMNS):
        part = slice(start, start + 4 * COLUMNS)
        contact_sheet([(image, f"{start + n}: {prompt.text}", None) for n, (image, prompt)
                       in enumerate(zip(images[part], prompts[part], strict=True))],
                      RUNS_DIR / f"eyes-{name}-{start}.png")
    path = folder / LABELS
    labels = json.loads(path.read_text()) if path.exists() else {}
    labels[name] = {"weights_sha256": fingerprints, "options": dict(options), "of": of,
                    "right": []}
    path.write_text(json.dumps(labels, indent=1) + "\n")


def agreement(right: Sequence[bool], held_right: Sequence[bool]) -> dict[str, Any]:
    """Figures of one generator.

    Args:
        right: what eyes say of each picture.
        held_right: what the judge says.
    """
    pairs = list(zip(right, held_right, strict=True))
    return {"pictures": len(pairs), "kappa": kappa(right, held_right),
            "agreement": sum(a == b for a, b in pairs) / len(pairs),
            "right_by_eyes": sum(right) / len(pairs),
            "right_by_judge": sum(held_right) / len(pairs),
            "passed_though_wrong": sum(b and not a for a, b in pairs),
            "refused_though_right": sum(a and not b for a, b in pairs)}


def best_by(right: Sequence[bool], scores: Sequence[float], of: int) -> dict[str, float]:
    """How often one picture of several is right: one by chance, the one that scores highest, and
    the best there is.

    Args:
        right: what eyes say of each picture, those of a prompt one after the other.
        scores: what a ranker says of each.
        of: pictures a prompt.
    """
    labels, values = (np.asarray(each, float).reshape(-1, of) for each in (right, scores))
    chosen = labels[np.arange(len(labels)), values.argmax(1)]
    return {"of": of, "random": float(labels.mean()), "clip": float(chosen.mean()),
            "oracle": float(labels.max(1).mean())}


def right_above_wrong(right: Sequence[bool], scores: Sequence[float]) -> float:
    """Share of pairs of a right and a wrong picture whose right one scores higher, in [0, 1].

    Args:
        right: what eyes say of each picture; both occur.
        scores: what a ranker says of each; a tie counts half.
    """
    labels, values = np.asarray(right, bool), np.asarray(scores, float)
    apart = values[labels][:, None] - values[~labels][None]
    return float((apart > 0).mean() + (apart == 0).mean() / 2)


def fits(ranker: ClipModel, pictures: np.ndarray, prompts: Sequence[str]) -> list[float]:
    """A ranker's cosine of each picture with its own prompt."""
    images, texts = embed_images(ranker, list(pictures)), embed_texts(ranker, prompts)
    return (images * texts).sum(1).tolist()


def eyes_figures(judge: TrainedJudge, ranker: ClipModel, folder: Path = EYES_DIR) -> dict[str, Any]:
    """What ``eyes.json`` holds: the agreement by generator and of all pictures together."""
    concepts, prompts, found = concepts_by_id(), asked(), {}
    rights: list[bool] = []
    helds: list[bool] = []
    cosines: list[float] = []
    for name, said in json.loads((folder / LABELS).read_text()).items():
        right = [bool(label) for label in said["right"]]
        pictures, of = tiles(folder / f"{name}.webp", len(right)), said.get("of", 1)
        verdicts = judge(torch.from_numpy(pictures))
        asked_of = [prompt for prompt in prompts for _ in range(of)][:len(right)]
        held = [score(prompt, verdict, concepts).correct
                for prompt, verdict in zip(asked_of, verdicts, strict=True)]
        fit = fits(ranker, pictures, [prompt.text for prompt in asked_of])
        found[name] = agreement(right, held) | {"right_above_wrong": right_above_wrong(right, fit)}
        if of > 1:
            found[name]["best"] = best_by(right, fit, of)
        rights, helds, cosines = rights + right, helds + held, cosines + fit
    every = agreement(rights, helds) | {"right_above_wrong": right_above_wrong(rights, cosines)}
    return found | {"all": every, "judge_sha256": judge.sha256}


def eyes_table(results: Mapping[str, Any]) -> str:
    """The agreement as Markdown."""
    lines = ["| | pictures | right by eyes | by the judge | agreement | κ | passed though wrong | "
             "refused though right | ranker: right above wrong |", "| --- |" + " --- |" * 8]
    for name, row in results.items():
        if isinstance(row, Mapping):
            lines.append(f"| {name} | {row['pictures']} | {row['right_by_eyes']:.2f} | "
                         f"{row['right_by_judge']:.2f} | {row['agreement']:.2f} | "
                         f"{row['kappa']:.2f} | {row['passed_though_wrong']} | "
                         f"{row['refused_though_right']} | {row['right_above_wrong']:.2f} |")
    several = [f"| {name} | {best['of']} | {best['random']:.2f} | {best['clip']:.2f} | "
               f"{best['oracle']:.2f} |" for name, row in results.items()
               if isinstance(row, Mapping) and (best := row.get("best"))]
    if several:
        lines += ["", "| | pictures a prompt | right by eyes: one by chance | chosen by CLIP | "
                  "the best there is |", "| --- |" + " --- |" * 4, *several]
    return "\n".join(lines)

"""What a person may wish for, and the public models that it takes: all of them by one button."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.core.errors import InvalidRequest
from pipelines.models.cache.inventory import ModelRow, Models
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.pipeline import Pipeline

MOVING = ("downloading", "checking")
AWAY = ("not downloaded", "missing", *MOVING)


@dataclass(frozen=True)
class Work:
    """What a picture takes at a generator's defaults, counted and not measured.

    Attributes:
        flops: floating-point operations of matrix products and convolutions.
        moved_bytes: weights that are read, as often as they are.
    """

    flops: float
    moved_bytes: float


@dataclass(frozen=True)
class Wish:
    """A wish and what grants it.

    Attributes:
        id: its name; no model is called so.
        title: the wish.
        by: what grants it, as people call it.
        gives: what there is afterwards, and where.
        parts: ids of the models that it takes, all of them.
        gain: how much it adds to what there is; the larger, the sooner it is advised.
        work: for a picture; None for what draws none.
    """

    id: str
    title: str
    by: str
    gives: str
    parts: tuple[str, ...]
    gain: int
    work: Work | None = None

    def drawn_by(self, pipelines: Iterable[Pipeline]) -> str:
        """Name of the generator that these models are for; empty where there is none."""
        return next((pipeline.name for pipeline in pipelines if set(self.parts) == {
            model for model in pipeline.models if not model.startswith(EMBEDDED)}), "")


# Work, by the published shapes: two operations a weight, token and guidance's half, and weights
# read for each token of a group of four (DALL·E mini and mega in 8 bits, Janus in 16); for
# Kandinsky .16 Tflop a step of the prior and .86 of the U-Net, twice for guidance; for FLUX.2 12
# Tflop a step over 1,024 tokens of the picture and 512 of the prompt; for VQGAN+CLIP
# .51 forward and backward through the VQGAN at 256 px and .57 through ViT-B/32 with 32 cutouts,
# 300 times.
WISHES = (
    Wish("draw-mini", "Draws anything, the smallest", "DALL·E mini",
         "One more generator on Generate: any English prompt, at 256 px.",
         ("kuprel/dalle-mini", "kuprel/dalle-detoker"), 5, Work(0.45e12, 15e9)),
    Wish("draw-mega", "Draws anything, and better", "DALL·E mega",
         "As DALL·E mini with six times the weights: choose it as the model in the options.",
         ("kuprel/dalle-mega", "kuprel/dalle-detoker"), 7, Work(1.5e12, 81e9)),
    Wish("draw-janus", "Draws anything, by a language model", "Janus-Pro 1B",
         "One more generator on Generate: any prompt, at 384 px.",
         ("deepseek/janus-pro-1b",), 6, Work(3.5e12, 370e9)),
    Wish("draw-kandinsky", "Draws anything, photographs and paintings", "Kandinsky 2.2",
         "One more generator on Generate: any prompt and variations of a picture; best on a GPU.",
         ("kandinsky/2-2-text-encoder", "kandinsky/2-2-image-encoder", "kandinsky/2-2-prior",
          "kandinsky/2-2-unet", "kandinsky/2-2-movq"), 8, Work(53e12, 16e9)),
    Wish("draw-flux2", "Draws anything in four steps", "FLUX.2 klein",
         "One more generator on Generate: any prompt, at up to 1,024 px; best on a GPU.",
         ("flux2/klein-4b-text-encoder", "flux2/klein-4b-transformer", "flux2/klein-4b-vae"), 9,
         Work(55e12, 16e9)),
    Wish("draw-vqgan-clip", "VQGAN+CLIP as people knew it", "VQGAN ImageNet + CLIP ViT-B/32",
         "VQGAN+CLIP in any words: choose both in its options.",
         ("compvis/vqgan-f16-16384", "openai/clip-vit-b-32"), 4, Work(320e12, 270e9)),
    Wish("judge-clip", "Judges any picture", "CLIP ViT-B/32",
         "One more CLIP in Lab, Rerank and the options: people, photographs, any English words.",
         ("openai/clip-vit-b-32",), 3),
    Wish("judge-siglip", "Judges any picture in many languages", "SigLIP 2",
         "One more CLIP in Lab, Rerank and the options, which reads about a hundred languages.",
         ("google/siglip2-b-32",), 2),
)


@dataclass(frozen=True)
class WishState:
    """How far a wish is.

    Attributes:
        wish: which.
        rows: its models.
        missing: those of them that are not here whole.
        bytes_: of the download of all that are missing; 0 where nobody knows.
        progress: share of a running download in [0, 1]; None without one.
        error: why the last download of a part failed; empty where none did.
    """

    wish: Wish
    rows: tuple[ModelRow, ...]
    missing: tuple[ModelRow, ...]
    bytes_: int
    progress: float | None
    error: str


def states(rows: Sequence[ModelRow], wishes: Sequence[Wish] = WISHES) -> list[WishState]:
    """How far each wish is whose models are all among some rows, in the order of the wishes."""
    by_id = {row.id: row for row in rows}
    return [_state(wish, tuple(by_id[part] for part in wish.parts)) for wish in wishes
            if all(part in by_id for part in wish.parts)]


def _state(wish: Wish, rows: tuple[ModelRow, ...]) -> WishState:
    missing = tuple(row for row in rows if row.state in AWAY)
    progress = None
    if any(row.state in MOVING for row in rows):
        sizes = [row.download_bytes or row.disk_bytes or 1 for row in rows]
        shares = [row.progress or 0.0 if row in missing else 1.0 for row in rows]
        progress = sum(size * share for size, share in zip(sizes, shares, strict=True)) / sum(sizes)
    return WishState(wish, rows, missing, sum(row.download_bytes or 0 for row in missing),
                     progress, next((row.error for row in rows if row.error), ""))


def find_wish(wish_id: str, wishes: Sequence[Wish] = WISHES) -> Wish:
    """The wish of that name.

    Raises:
        InvalidRequest: there is none.
    """
    for wish in wishes:
        if wish.id == wish_id:
            return wish
    raise InvalidRequest("There is no wish called {!r}.", wish_id[:40], field="model")


def fetch(inventory: Models, wish_id: str) -> None:
    """Download all that a wish still takes.

    Raises:
        InvalidRequest: there is no such wish.
        WeightsError: a part cannot be downloaded, or Easel is offline.
    """
    for row in _rows(inventory, wish_id):
        if row.state in ("not downloaded", "missing"):
            inventory.download(row.id)


def give_up(inventory: Models, wish_id: str) -> None:
    """End the downloads of a wish; what came so far is kept.

    Raises:
        InvalidRequest: there is no such wish.
    """
    for row in _rows(inventory, wish_id):
        if row.state in MOVING:
            inventory.cancel(row.id)


def _rows(inventory: Models, wish_id: str) -> list[ModelRow]:
    parts = find_wish(wish_id).parts
    for part in parts:
        inventory.catalogue.get(part)
    return [row for row in inventory.rows() if row.id in parts]

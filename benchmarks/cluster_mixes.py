"""What people draw, for ``benchmarks.cluster_simulation``: seconds, models, prices.

Of the embedded generators everything but the shares and the price is measured, by ``speed`` and
``cache``. No run on an accelerator has been measured: of the public checkpoints the seconds of runs
are assumed, and so are the rates at which models come from main memory and, where ``loading`` has
not loaded them, from the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.results import RESULTS_DIR, read_results
from pipelines.models.checkpoints.catalogue import Catalogue

VQGAN_CLIP_STEPS = 100  # of a picture at the default quality
CARD_BYTES = 0.8 * 24e9  # of a card of 24 GB, by EASEL_MODEL_BUDGET's default
HOST_BYTES = 0.5 * 32e9  # of the machine's 32 GB, by EASEL_HOST_BUDGET's
COPY_BYTES_PER_S = 5e9  # from main memory to a card, assumed
RANKER = "laion/clip-vit-b-32"


@dataclass(frozen=True)
class Model:
    """A model of a mix.

    Attributes:
        size_bytes: that it takes on the device.
        load_s: seconds from the disk to the device.
    """

    size_bytes: int
    load_s: float


@dataclass(frozen=True)
class Kind:
    """A kind of runs.

    Attributes:
        share: of all runs.
        run_s: seconds of the device, without loading.
        pictures: that a run draws.
        models: ids that it needs at the same time.
    """

    name: str
    share: float
    run_s: float
    pictures: int
    models: tuple[str, ...]


@dataclass(frozen=True)
class Mix:
    """What people draw, and on what.

    Attributes:
        budget_bytes: that the models of a runner may take together; None for all of them.
        host_bytes: that those which left its device may take in main memory.
        usd_an_hour: price of a runner, assumed.
    """

    name: str
    kinds: tuple[Kind, ...]
    models: Mapping[str, Model]
    budget_bytes: int | None
    host_bytes: int
    usd_an_hour: float

    def mean_run_s(self) -> float:
        """Seconds of the device that a run takes."""
        return sum(kind.share * kind.run_s for kind in self.kinds)


def embedded_mix(folder: Path = RESULTS_DIR) -> Mix:
    """The three embedded generators on two CPU cores.

    Args:
        folder: where the results are.
    """
    speed, cold = (read_results(folder / f"{name}.json") for name in ("speed", "cache"))
    models = {name: Model(0, found["cold"]["median_s"]) for name, found in cold["embedded"].items()}
    ranker, vqgan = "embedded/clip-ranker", "embedded/vqgan"
    guide, upscaler = "embedded/clip-guide", "embedded/upscaler"
    return Mix("embedded models, 2 CPU cores", (
        Kind("dalle", 0.4, speed["dalle"]["four_ranked_s"], 4,
             ("embedded/dalle", ranker)),
        Kind("unclip", 0.4, speed["unclip"]["four_ranked_s"], 4,
             ("embedded/unclip-prior", "embedded/unclip-decoder", upscaler, ranker)),
        Kind("vqgan_clip", 0.2, VQGAN_CLIP_STEPS * speed["vqgan_clip"]["ms_per_step"] / 1000, 1,
             (vqgan, guide, upscaler, ranker))), models, None, 0, 0.08)


def public_mix(folder: Path = RESULTS_DIR) -> Mix:
    """Public checkpoints on cards of 24 GB, of which not all fit at once.

    Args:
        folder: where the results are.
    """
    loads = {name: found[0] for name, found in
             read_results(folder / "loading.json")["models"].items()}
    rate = median(each["memory_bytes"] / each["seconds"] for each in loads.values())
    catalogue = {entry.id: entry for entry in Catalogue.load()}

    def model(name: str) -> Model:
        if (found := loads.get(name)) is not None:
            return Model(found["memory_bytes"], found["seconds"])
        size_bytes = int(catalogue[name].download_bytes or 0)
        return Model(size_bytes, size_bytes / rate)

    kandinsky = tuple(name for name in catalogue if name.startswith("kandinsky/"))
    flux2 = tuple(name for name in catalogue if name.startswith("flux2/"))
    kinds = (
        Kind("min_dalle", 0.25, 4.0, 4, ("kuprel/dalle-mini", "kuprel/dalle-detoker", RANKER)),
        Kind("vqgan_clip", 0.15, 25.0, 1,
             ("compvis/vqgan-f16-16384", "openai/clip-vit-b-16", RANKER)),
        Kind("janus", 0.2, 14.0, 4, ("deepseek/janus-pro-1b", RANKER)),
        Kind("kandinsky", 0.2, 12.0, 4, (*kandinsky, RANKER)),
        Kind("flux2", 0.2, 8.0, 4, (*flux2, RANKER)))
    names = {name for kind in kinds for name in kind.models}
    return Mix("public checkpoints, cards of 24 GB", kinds, {name: model(name) for name in names},
               int(CARD_BYTES), int(HOST_BYTES), 0.80)

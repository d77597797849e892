"""Clusters of Ray on this machine, of small models, for as long as some tests run."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from easel.history.database import Database
from easel.history.shelves import FolderShelf
from easel.serving.backend import LocalBackend
from easel.serving.paused_rows import PausedRows
from easel.serving.ray.connect import connected_backend, join_cluster
from easel.serving.ray.environment import ROOT, TOKEN
from easel.serving.ray.node import end_node, start_node
from easel.settings import Settings
from pipelines import checkpointer
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from tests.paused_server import FIELDS, open_runs, registry
from tests.small_models import SmallLoader
from tests.watched_sketch import WatchedSketch

if TYPE_CHECKING:
    from easel.serving.ray.backend import RayBackend

SKETCH: dict[str, Any] = {"pipeline": "sketch", "prompt": "a red apple", "num_images": 2, "seed": 5,
                          "options": {"steps": 3, "pause_s": 0.0}}
RUN: dict[str, Any] = {**FIELDS, "options": {**FIELDS["options"], "iterations": 40}}
LONG_RUN = {**RUN, "options": {**RUN["options"], "num_cutouts": 4, "iterations": 1000}}
LONG = {**SKETCH, "options": {"steps": 2000, "pause_s": 0.1}}  # longer than any case takes
OWN_TOKEN = secrets.token_hex(32)  # Ray reads it once a process, whatever cluster comes later
GUARD = ("import sys; from pathlib import Path; from easel.serving.ray.node import end_node; "
         "sys.stdin.read(); end_node(Path(sys.argv[1]))")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


MODELS, ROOM = ("a", "b", "c", "d"), 2  # those of the kinds of sketches, and how many fit
NUMBERS = 8_000_000  # of each of these models, far more than of all others together


class LargeModel(nn.Module):
    """A model of which it is known only how large it is."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.empty(NUMBERS), requires_grad=False)


class KindsLoader(SmallLoader):
    """Builds what is small of the catalogue, and the large models of the kinds of sketches."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """See ``SmallLoader``."""
        return LargeModel() if model_id in MODELS else super().load(model_id, device, dtype)

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """See ``SmallLoader``."""
        return 4 * NUMBERS if model_id in MODELS else super().size_bytes(model_id, dtype)


def kinds() -> Registry:
    """The generators of a cluster, sketches with a model of their own each among them."""
    found = registry()
    for name in MODELS:
        kind = type(f"Sketch{name}", (WatchedSketch,), {"models": (name,)})
        found.register(kind(f"sketch-{name}"))
    return found


def small_backend(paused: Path, version: str) -> LocalBackend:
    """The backend of a runner, whose models are small, and which keeps runs more often."""
    checkpointer.SAVE_EVERY_S = 0.2
    room = 4 * NUMBERS * ROOM + 4 * NUMBERS // 2
    return LocalBackend(kinds(), ModelCache(KindsLoader(), "cpu", budget_bytes=room),
                        paused=open_runs(paused))


class Cluster:
    """Ray on this machine, with runners.

    Args:
        folder: the data folder.
        limits: settings of the line.

    Attributes:
        longest_run_s: what a runner that is to end may still take.
    """

    longest_run_s = 60.0

    def __init__(self, folder: Path, runners: int = 1, **limits: Any) -> None:
        self.settings = Settings(data_dir=folder, backend="ray", runners=runners, **limits)
        self.paused = folder / "paused"

    def deploy(self, version: str = "1") -> None:
        """Start the runners, or replace them by those of another version."""
        from easel.serving.ray.deploy import deploy

        deploy(self.settings, partial(small_backend, self.paused, version), self.longest_run_s)

    def begin_desk(self, path: str) -> None:
        """Begin the desk, of the Easel that lies in a folder."""
        ray: Any = import_module("ray")
        from easel.serving.ray.deploy import terms_of
        from easel.serving.ray.desk_actor import NAME, DeskActor

        ray.remote(DeskActor).options(
            name=NAME, namespace=self.settings.ray_app, lifetime="detached", num_cpus=0,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([path, *filter(None, sys.path)])
                                      }}).remote(terms_of(self.settings))

    @contextmanager
    def beside(self, **settings: Any) -> Iterator[Cluster]:
        """Another Easel on the same machines, of other settings, with a desk of its own."""
        from ray import serve

        from easel.serving.ray.desk_actor import find_desk

        other = Cluster(self.settings.data_dir)
        other.settings = self.settings.model_copy(update={"ray_app": "beside", **settings})
        other.longest_run_s = 600.0
        try:
            yield other
        finally:
            serve.delete("beside", _blocking=False)
            ray: Any = import_module("ray")
            with suppress(ValueError):  # it did not begin
                ray.kill(find_desk("beside"))

    def has_kept(self) -> bool:
        """Whether a state of a run is kept whole: its file comes before the row that names it."""
        url = f"sqlite:///{self.paused.parent / 'paused.sqlite'}"
        with closing(Database(url)) as database:
            return PausedRows(database, FolderShelf(self.paused)).used("", "").all_bytes > 0

    def front(self) -> RayBackend:
        """A front end's backend."""
        return connected_backend(self.settings, kinds(), open_runs(self.paused))


@contextmanager
def cluster(folder: Path, runners: int = 1, spare: int = 1, **limits: Any) -> Iterator[Cluster]:
    """A cluster, ended at the end.

    Args:
        spare: for how many more runners there is room.
    """
    made = Cluster(folder, runners, **limits)
    home = folder / "cluster"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            environment.delenv(name)
        home.mkdir(parents=True)
        (home / TOKEN).write_text(OWN_TOKEN, "ascii")
        start_node(home, "127.0.0.1", cpus=runners + spare)
        # Ray outlives whoever starts it: not so the tests, should they be killed.
        guard = subprocess.Popen([sys.executable, "-c", GUARD, str(home)], cwd=ROOT,
                                 stdin=subprocess.PIPE, start_new_session=True)
        try:
            with chdir(home):  # which comes before all others where Ray's workers look for code
                join_cluster(made.settings)
            made.deploy()
            yield made
        finally:
            ray: Any = import_module("ray")

            ray.shutdown()
            end_node(home)
            guard.communicate()

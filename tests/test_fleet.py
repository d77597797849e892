"""The models of several runners as one inventory: what it says, and what is done where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from easel.serving.backend import LocalBackend
from easel.serving.jobs import RunnerCounts
from easel.serving.ray.fleet import FRESH_S, FleetInventory, RunnerModels
from easel.serving.ray.station import Station
from easel.ui.models.render import render_models
from easel.ui.models.tab import perform
from pipelines.core.errors import Busy, EaselError, WeightsError
from pipelines.models import vqgan
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import Act, ModelRow
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import CatalogueLoader, pinned
from pipelines.registry import Registry
from tests.test_models_tab import until
from tests.weight_folders import VQGAN_CONFIG, entry
from training.export import export

ONE, PUBLIC = "embedded/one", "someone/vqgan"
BUDGET = 6_000_000


class Fleet:
    """Two runners without a cluster, of one machine, and what is asked of them.

    Attributes:
        answers: whether they do.
        asked: what was done, and by whom.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        export(vqgan.build(VQGAN_CONFIG), "one", "vqgan", VQGAN_CONFIG, "A test.", folder)
        public = entry(PUBLIC, "vqgan").model_copy(update={"repository": "someone/pictures"})
        own = pinned(Catalogue((entry(ONE, "vqgan"),), folder))
        self.catalogue = Catalogue((*own, public), folder, folder / "models")
        self.backends = [LocalBackend(Registry(), ModelCache(
            CatalogueLoader(self.catalogue), budget_bytes=BUDGET)) for _ in range(2)]
        for each in self.backends:
            stack.callback(each.cache.close)
            stack.callback(each.close)
        self._stations = [Station(f"r{number}", each, lambda: None, offline=True)
                          for number, each in enumerate(self.backends, 1)]
        self.answers, self.asked = True, list[tuple[Act, str]]()
        self.inventory = FleetInventory(self.ask, self.catalogue)

    def ask(self, act: Act | None, model_id: str, only: frozenset[str] | None,
            ) -> list[RunnerModels]:
        """As ``Link.models`` and the runners do."""
        if not self.answers:
            raise EaselError("The runners do not answer.")
        found = []
        for each in self._stations:
            mine = act if only is None or each.name in only else None
            self.asked += [(mine, each.name)] if mine is not None else []
            found.append(each.models(mine, model_id))
        return found

    def row(self, model_id: str = ONE) -> ModelRow:
        return next(row for row in self.inventory.rows() if row.id == model_id)

    def until(self, *states: str) -> None:
        """Wait until a model is in these states at the runners."""
        until(lambda: tuple(state for _, state in self.row().places) == states)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def test_what_is_pressed_is_done_at_every_runner(fleet: Fleet) -> None:
    assert fleet.row().places == (("r1", "on disk"), ("r2", "on disk"))
    assert not fleet.inventory.moving()
    perform(fleet.inventory, f"pin {ONE} 1")
    fleet.until("on the device", "on the device")
    row, memory = fleet.row(), fleet.inventory.memory()
    assert (row.state, row.pinned, row.misses) == ("on the device", True, 2)
    assert row.memory_bytes == memory.used_bytes == 2 * fleet.backends[0].cache.used_bytes() > 0
    assert memory.budget_bytes == 2 * BUDGET
    assert fleet.inventory.figures()["memory"]["device"] == "cpu"
    perform(fleet.inventory, f"unpin {ONE} 2")
    perform(fleet.inventory, f"unload {ONE} 3")
    row = fleet.row()
    assert (row.state, row.pinned) == ("on disk", False)
    assert [each.cache.used_bytes() for each in fleet.backends] == [0, 0]


def test_what_is_in_use_at_one_runner_stays_there(fleet: Fleet) -> None:
    perform(fleet.inventory, f"load {ONE} 1")
    fleet.until("on the device", "on the device")
    with fleet.backends[0].cache.lease(ONE):
        with pytest.raises(Busy, match="in use: wait for the job"):
            perform(fleet.inventory, f"unload {ONE} 2")
        fleet.until("in use", "on disk")
        assert fleet.row().state == "in use"
        assert "runners: 1 in use, 1 on disk" in render_models(fleet.inventory)


def test_what_one_runner_lacks_can_be_loaded_there_too(fleet: Fleet) -> None:
    load = f'data-act="load" data-model="{ONE}"'
    with fleet.backends[0].cache.lease(ONE):
        pass
    fleet.until("on the device", "on disk")
    assert load in render_models(fleet.inventory)
    perform(fleet.inventory, f"load {ONE} 1")
    fleet.until("on the device", "on the device")
    assert load not in render_models(fleet.inventory)


def test_a_machine_downloads_once_for_all_its_runners(fleet: Fleet) -> None:
    assert fleet.row(PUBLIC).state == "not downloaded"
    with pytest.raises(WeightsError, match="offline"):
        fleet.inventory.download(PUBLIC)
    assert fleet.asked == [("download", "r1")]
    fleet.inventory.cancel(PUBLIC)
    assert fleet.asked[1:] == [("cancel", "r1"), ("cancel", "r2")]
    with pytest.raises(WeightsError):
        fleet.inventory.load("nobody/nothing")
    assert len(fleet.asked) == 3, "nobody was asked"


def test_runners_that_do_not_answer_have_what_they_had(
        fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.serving.ray.fleet.FRESH_S", 0.0)
    assert FRESH_S > 0
    fleet.answers = False
    with pytest.raises(EaselError, match="do not answer"):
        fleet.inventory.rows()
    fleet.answers = True
    before = fleet.inventory.rows()
    fleet.answers = False
    assert fleet.inventory.rows() == before
    with pytest.raises(EaselError, match="do not answer"):
        fleet.inventory.load(ONE)


def test_the_tab_says_how_many_runners_there_are_and_are_to_be(fleet: Fleet) -> None:
    def said(wanted: int) -> str:
        html = render_models(fleet.inventory, runners=RunnerCounts(2, wanted, 1, 4))
        return html[html.index("Runners: "):].partition("</p>")[0]

    assert said(3) == "Runners: 2; 3 wanted now, 1 at least and 4 at most."
    assert said(0) == "Runners: 2; – wanted now, 1 at least and 4 at most."
    assert "Runners: " not in render_models(fleet.inventory), "this machine draws"

"""The address where a page says what it has seen."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.served import App
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([WatchedSketch()], small_cache())
    yield served
    served.close()


@pytest.mark.parametrize(("path", "status"), [
    ("seen/nobody/1", 204), ("seen/nobody/0", 204), ("seen/nobody/" + "9" * 5000, 404),
    ("seen/nobody/-1", 404), ("seen/nobody/one", 404), ("seen/nobody/1.5", 404)])
def test_odd_words_there_are_no_fault_of_the_server(app: App, path: str, status: int) -> None:
    assert httpx.post(app.url + path).status_code == status


def test_what_one_says_is_heard_by_the_run_alone_that_it_names(app: App) -> None:
    live = app.playground.live
    run = live.start(app.playground.runs.start("page", "anna"), lambda live: None)
    run.post({"stage": "a"})
    httpx.post(f"{app.url}seen/{run.key[:-1]}/1").raise_for_status()
    assert run.seen == 0
    httpx.post(f"{app.url}seen/{run.key}/1").raise_for_status()
    assert run.seen == 1
    run.finish()

"""Two pages with a data folder each, on one database and one store: what one paused, the other
resumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gradio_client.exceptions import AppError
from pydantic import SecretStr

from pipelines.core.metadata import read_png
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests import object_stores, postgres
from tests.served import App
from tests.small_models import small_cache
from tests.test_paused_page import paused
from tests.watched_sketch import WatchedSketch

STORES = ["folder", *(pytest.param(name, marks=pytest.mark.skipif(
    bool(object_stores.why_not(name)), reason=object_stores.why_not(name)))
    for name in object_stores.KINDS)]
pytestmark = pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not())


@pytest.fixture(params=STORES)
def pages(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
          ) -> Iterator[tuple[App, App]]:
    with ExitStack() as stack:
        url = stack.enter_context(postgres.server())
        stores = stack.enter_context(object_stores.Stores())
        files = ((tmp_path / "files").as_uri() if request.param == "folder"
                 else stores.url(request.param, monkeypatch))
        made = []
        for _ in range(2):
            made.append(App([VQGANCLIPPipeline(), WatchedSketch()], small_cache(),
                            database_url=SecretStr(url), files_url=files))
            stack.callback(made[-1].close)
        yield made[0], made[1]


def test_a_visitor_resumes_at_one_page_what_was_paused_at_the_other(pages: tuple[App, App]) -> None:
    here, there = pages
    mine, others = ({"x-easel-visitor": letter * 43} for letter in "ab")
    panel = paused(here.client(**mine))
    client = there.client(**mine)
    (run,) = client.predict(api_name="/paused_runs")
    assert (run["run_id"], run["step"], run["interrupted"]) == (
        panel["run_id"], panel["step"], False)
    assert there.client(**others).predict(api_name="/paused_runs") == []
    end = run["step"] + 2
    files, details = client.predict(run["run_id"], None, end, api_name="/resume")
    assert details["panels"][0]["step"] == end
    assert read_png(Path(files[0]).read_bytes())["easel"]["prompt"] == "a red apple"
    assert here.client(**mine).predict(api_name="/paused_runs") == []
    with pytest.raises(AppError, match="no such paused run"):
        here.client(**mine).predict(run["run_id"], api_name="/resume")
    for page in pages:
        assert not list(Path(page.data.name).rglob("*.safetensors")), "no state is in a data folder"

"""Pictures at the prompt that were taken away, and what of them can be put back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from easel.ui.parts.picture_inputs import (
    MAX_TAKEN,
    PictureInputs,
    ShownPictures,
    Taken,
    build_picture_inputs,
    build_shown,
    connect_shown,
)
from pipelines.core.request import INIT_IMAGE, MAX_IMAGE_PROMPTS, PICTURES

Act = Callable[..., dict[Any, Any]]
INIT, PROMPTS = 0, 2  # places in the order of the fields


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = [tmp_path / f"{number}.png" for number in range(MAX_TAKEN + 4)]
    for path in found:
        path.touch()
    return list(map(str, found))


class Form:
    """The places of one generator, and what its page would call."""

    def __init__(self) -> None:
        with gr.Blocks() as self.blocks:
            self.inputs: PictureInputs = build_picture_inputs(
                "One", {f"accepts_{name}": True for name in PICTURES})
            self.handed, run = gr.Textbox(), gr.Button()
            self.shown: ShownPictures = build_shown("init")
            connect_shown([self.inputs], self.shown, [run.click], self.handed)
        self.files = list(self.inputs.files.values())

    def act(self, box: gr.Textbox) -> Act:
        """What a change of a box calls."""
        found = [fn.fn for fn in self.blocks.fns.values() if (box._id, "change") in fn.targets]
        assert len(found) == 1
        assert found[0] is not None
        return found[0]

    def value(self, updates: dict[Any, Any], place: int) -> Any:
        return updates[self.files[place]]["value"]


def asked(*pairs: tuple[int, str]) -> str:
    return json.dumps([pairs, 1])


def test_the_places_are_those_of_a_request() -> None:
    assert list(Form().inputs.files)[INIT] == INIT_IMAGE


def test_what_was_handed_over_is_so_again(paths: list[str]) -> None:
    form = Form()
    gone = form.act(form.shown.removed)(asked((INIT, paths[0])), [], "a cat", paths[0], None, None)
    assert form.value(gone, INIT) is None
    assert gone[form.handed] == ""
    back = form.act(form.shown.undone)(
        asked((INIT, paths[0])), gone[form.shown.taken], "", None, None, None)
    assert form.value(back, INIT) == paths[0]
    assert back[form.handed] == "a cat"
    assert back[form.shown.taken] == []


def test_nothing_else_is_put_back(paths: list[str]) -> None:
    """Neither a file that nobody took away, nor one to where there is no room for it."""
    form, taken = Form(), [Taken(INIT, paths[0], 0), Taken(PROMPTS, paths[1], 1)]
    put_back = form.act(form.shown.undone)
    odd_pairs = (INIT, "/etc/passwd"), (INIT, paths[1]), (9, paths[0])
    for odd in ("", "[", *map(asked, odd_pairs)):
        assert set(put_back(odd, taken, "", None, None, None)) == {form.shown.taken, form.handed}
    both = asked((INIT, paths[0]), (PROMPTS, paths[1]))
    full = put_back(both, taken, "", paths[5], None, paths[2:2 + MAX_IMAGE_PROMPTS])
    assert full == {form.shown.taken: taken, form.handed: ""}
    Path(paths[0]).unlink()  # an upload is kept for a day
    left = put_back(both, taken, "", None, None, paths[2:4])
    assert form.files[INIT] not in left
    assert form.value(left, PROMPTS) == [paths[2], paths[1], paths[3]]
    assert left[form.shown.taken] == taken[:1]


def test_what_can_be_put_back_has_an_end(paths: list[str]) -> None:
    form, taken = Form(), list[Taken]()
    for path in paths:
        remove = form.act(form.shown.removed)
        taken = remove(asked((INIT, path)), taken, "", path, None, None)[form.shown.taken]
    assert [each.path for each in taken] == paths[-MAX_TAKEN:]

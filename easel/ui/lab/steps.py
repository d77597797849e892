"""What every part of the lab works with: a stage, Go, Stop, and Rebuild, which asks first."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.search.database import IndexOutdated
from easel.serving.told import hearing
from easel.ui.lab.lab import STOPPED
from easel.ui.lab.render import render_note
from easel.ui.parts.invitation import invitation
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import fill_html, worded_html
from easel.ui.parts.streams import Throttle
from easel.ui.parts.task import Asked, Task, Tasks
from easel.ui.parts.tiles import alert
from easel.words import strings
from pipelines.core.errors import Cancelled, EaselError
from pipelines.core.events import Progress

# In the page but not seen: with visible=False a button is taken out of it, and what it is told
# while it is put back in may be lost.
HIDDEN: Any = "hidden"


@dataclass(frozen=True)
class Shown:
    """What a run ends with: HTML for the stage."""

    html: str


# Sentences while it lasts, then what is shown.
Steps = Generator[str | Shown]


class LabPart:
    """The stage and the buttons of a part of the lab, and the task behind them.

    Args:
        name: of the part, as in "search".
        label: what Go says.
    """

    def __init__(self, name: str, label: str) -> None:
        self.name = name
        with gr.Row(elem_classes="lab-buttons"):
            self.go = gr.Button(label, variant="primary", elem_id=f"lab-{name}", min_width=120)
            self.stop = gr.Button(strings.STOP, interactive=False, min_width=80,
                                  elem_id=f"lab-{name}-stop", elem_classes="lab-stop")
        self.rebuild = gr.Button(strings.LAB_REBUILD, size="sm", visible=HIDDEN,
                                 elem_id=f"lab-{name}-rebuild")

    def build_stage(self, hint: str) -> gr.HTML:
        """Where outcomes go."""
        self.hint = hint
        self.stage = worded_html(lambda: render_note(hint), elem_id=f"lab-{self.name}-stage",
                                 elem_classes="lab-stage")
        return self.stage

    def invite(self, label: str, pictures: Sequence[str], button: gr.Button) -> None:
        """Show pictures below the hint, which press a button; see ``invitation``."""
        fill_html(self.stage, lambda: render_note(self.hint) + invitation(
            label, pictures, str(button.elem_id)))

    def connect(self, tasks: Tasks, tabs: Sequence[gr.Tab], fields: Iterable[Any]) -> None:
        """Make the task, once all is built.

        Args:
            tasks: of the page.
            tabs: the one that the part is in, after those that it is in.
            fields: what a person fills in.
        """
        self.fields = list(fields)
        self.task: Task = tasks.add(f"lab-{self.name}", self.go, self.stop,
                                    [self.rebuild], self.stage, self._refuse)
        self.task.returns(self.fields, tabs)

    def starts(self, event: Any, steps: Callable[[Asked], Steps]) -> None:
        """Let an event start some work."""
        def work(asked: Asked) -> Generator[Updates]:
            yield {self.stage: render_note(strings.LAB_STARTING),
                   self.rebuild: gr.update(visible=HIDDEN)}
            throttle = Throttle()

            def hear(progress: Progress) -> None:
                said = progress.message or strings.LAB_STARTING
                asked.post({self.stage: render_note(said)})

            with hearing(hear), closing(steps(asked)) as found:
                for step in found:
                    if isinstance(step, Shown):
                        yield {self.stage: step.html}
                    elif throttle.due():
                        throttle.shown()
                        yield {self.stage: render_note(step)}

        self.task.starts([event], work, self.fields)

    def empty(self) -> Updates:
        """What the stage shows before the first run."""
        return {self.stage: render_note(self.hint)}

    def _refuse(self, error: EaselError) -> Updates:
        if isinstance(error, Cancelled):
            note = str(error) if str(error) == STOPPED else strings.LAB_STOPPED
            return {self.stage: render_note(note)}
        ask = True if isinstance(error, IndexOutdated) else HIDDEN
        return {self.stage: alert(str(error)),
                self.rebuild: gr.update(visible=ask)}

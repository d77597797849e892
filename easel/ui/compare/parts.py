"""The components of the Compare tab, which its folds change too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from easel.ui.parts.picture_inputs import PictureInputs

# A comparison that Easel drew earlier, as "Save as zip" wrote it.
EXAMPLE = Path(__file__).resolve().parents[3] / "assets" / "samples" / "comparison.zip"


@dataclass
class CompareParts:
    """The components of the tab."""

    prompt: gr.Textbox
    forms: gr.HTML
    panes: gr.Textbox
    run: gr.Button
    stop: gr.Button
    blind: gr.Checkbox
    seed: gr.Textbox
    budget: gr.Textbox
    pictures: PictureInputs
    alert: gr.HTML
    example: gr.Button
    comparison_id: gr.State
    columns: list[gr.Column] = field(default_factory=list)
    stages: list[gr.HTML] = field(default_factory=list)
    stops: list[gr.Button] = field(default_factory=list)
    votes: list[gr.Button] = field(default_factory=list)
    vote_row: gr.Row | None = None
    vote_label: gr.HTML | None = None
    outcome: gr.HTML | None = None
    save: gr.DownloadButton | None = None

    def shown(self) -> list[Any]:
        """What a run changes, besides its buttons."""
        return [*self.columns, *self.stages, *self.stops, self.alert, self.comparison_id,
                self.vote_row, self.vote_label, *self.votes, self.outcome, self.save]

    def changed(self) -> list[Any]:
        """What another comparison changes that is not drawn here."""
        return [self.prompt, self.forms, self.panes, self.budget, *self.pictures.files.values(),
                *self.shown()]

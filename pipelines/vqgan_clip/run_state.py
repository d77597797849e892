"""The state of a run of VQGAN+CLIP: latents, story and camera, as pausing saves and restores it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pipelines.saved_run import SavedRun
from pipelines.vqgan_clip.camera import Camera
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.story import Story


class RunState(NamedTuple):
    """What changes from step to step."""

    optimisation: Optimisation
    story: Story
    camera: Camera

    def begin_step(self, step: int, options: VQGANCLIPOptions) -> bool:
        """Be at the part of the story that step belongs to; whether the camera moved there."""
        if self.story.goes_on(step, options.iterations):
            self.optimisation.guides = self.story.guides
            self.optimisation.begin_anew()
            self.have_patience(options)
        if not self.camera.moves(step):
            return False
        self.optimisation.see_through(self.camera)
        return True

    def have_patience(self, options: VQGANCLIPOptions) -> None:
        """Let the last part of a story end where it becomes no better, and no other."""
        self.optimisation.patience = options.patience if self.story.is_last else 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See ``Optimisation.state``."""
        tensors, facts = self.optimisation.state()
        return tensors, {**facts, **self.story.state(), **self.camera.state()}

    def restore(self, start: SavedRun) -> None:
        """Go back to a ``state``, with what is new; see ``Optimisation.restore``."""
        self.optimisation.restore(start.step, start.tensors, start.facts)
        self.story.restore(start.step, start.facts, start.changes)
        self.camera.restore(start.facts)
        self.optimisation.guides = self.story.guides
        self.optimisation.change(start.changes)

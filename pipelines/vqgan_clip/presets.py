"""VQGAN+CLIP's settings where a published CLIP guides, and which VQGAN and guide belong together.

The defaults of ``VQGANCLIPOptions`` suit the embedded guide, whose gradient points at one picture.
A published CLIP that sees one whole picture finds texture that only it likes; the tools of 2021
show it many augmented cutouts with noise instead.

Source: nerdyrodent/VQGAN-CLIP ``generate.py``, EleutherAI/vqgan-clip ``main.py``, pixray
``pixray.py``; Crowson et al., "VQGAN-CLIP" (2022), section 3.2.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from pipelines.core.errors import InvalidRequest, WeightsError
from pipelines.core.options import Options
from pipelines.models.checkpoints.catalogue import EMBEDDED, Catalogue

T = TypeVar("T", bound=Options)

# What differs from the defaults with a published guide.
GUIDED: dict[str, Any] = {
    "optimiser": "adam", "step_size": 0.1, "schedule": "constant", "iterations": 300,
    "num_cutouts": 32, "smallest_cut": 0.3, "whole_cuts": 0.25, "augmentations": "light",
    "noise": 0.1}
CPU_PX, ACCELERATOR_PX = 256, 384  # 16 and 24 codes along a side of an f16 VQGAN


def resolve_options(options: T) -> T:
    """The options with what is "auto" in them decided.

    With ``preset`` "auto" and a guide that is not embedded, options that stand at their defaults
    take the published values. ``upscaler`` "auto" is "on" for the embedded VQGAN, on whose
    pictures the upscaler was trained, and "off" for any other. Settled options stay as they are.

    Args:
        options: ``VQGANCLIPOptions``.
    """
    values = options.model_dump()
    own_vqgan = values["vqgan"].startswith(EMBEDDED)
    found: dict[str, Any] = {}
    if values["upscaler"] == "auto":
        found["upscaler"] = "on" if own_vqgan else "off"
    if values["preset"] == "auto" and not values["guide"].startswith(EMBEDDED):
        wanted = dict(GUIDED)
        if not own_vqgan:
            size_px = ACCELERATOR_PX if torch.cuda.is_available() else CPU_PX
            wanted |= {"init": "noise", "size_px": size_px}
        fields = type(options).model_fields
        found |= {name: value for name, value in wanted.items()
                  if values[name] == fields[name].default}
    return options.model_copy(update=found)


def check_pair(vqgan: str, guide: str, catalogue: Catalogue | None) -> None:
    """Refuse an embedded guide for a published VQGAN.

    Args:
        vqgan: id of the VQGAN.
        guide: id of the guide.
        catalogue: states the networks of published models; a user's own may be anything.

    Raises:
        InvalidRequest: the guide is no judge of what the VQGAN draws.
    """
    if catalogue is None or not guide.startswith(EMBEDDED):
        return
    try:
        entry = catalogue.get(vqgan)
    except WeightsError:  # whoever leases it says so
        return
    if entry.repository is not None and entry.network is not None:
        raise InvalidRequest("{} draws photographs, and the embedded guide knows only emoji-like "
                             "pictures: choose a public CLIP as the guide.", entry.title,
                             field="guide")

"""What VQGAN+CLIP's automatic options become, and which VQGAN and guide belong together.

The embedded guide's gradient points at one picture, so that one look at it whole is enough. A
published CLIP that sees one whole picture finds texture that only it likes; the tools of 2021 show
it many augmented cutouts with noise instead.

Source: nerdyrodent/VQGAN-CLIP ``generate.py``, EleutherAI/vqgan-clip ``main.py``, pixray
``pixray.py``; Crowson et al., "VQGAN-CLIP" (2022), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch

from pipelines.core.errors import InvalidRequest, WeightsError
from pipelines.core.options import AUTO, Options
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import EMBEDDED, GUIDE
from pipelines.vqgan_clip.drawer import DrawerName

T = TypeVar("T", bound=Options)

Quality = Literal["draft", "normal", "best"]
EMBEDDED_VALUES: dict[str, Any] = {
    "iterations": 100, "size_px": 128, "init": "plain", "step_size": 0.15,
    "optimiser": "normalised", "schedule": "cosine", "num_cutouts": 1, "smallest_cut": 0.9,
    "whole_cuts": 1.0, "augmentations": "none", "noise": 0.0}
# What differs with a published guide.
GUIDED: dict[str, Any] = {
    "iterations": 300, "step_size": 0.1, "optimiser": "adam", "schedule": "constant",
    "num_cutouts": 32, "smallest_cut": 0.3, "whole_cuts": 0.25, "augmentations": "light",
    "noise": 0.1}
# What differs by quality, with the embedded guide and with a published one.
BY_QUALITY: dict[Quality, tuple[dict[str, Any], dict[str, Any]]] = {
    "draft": ({"iterations": 40}, {"iterations": 150, "num_cutouts": 16}),
    "normal": ({}, {}),
    "best": ({"iterations": 250}, {"iterations": 500, "num_cutouts": 64})}
# What differs with another drawer, with the embedded guide and with a published one. The latter's
# step sizes are those of pixray's pixel drawer (0.03 in colours of 0 to 1) and of lucent (0.05 in
# its units, which moves pixels as far as this in these).
BY_DRAWER: dict[DrawerName, tuple[dict[str, Any], dict[str, Any]]] = {
    "pixel": ({"size_px": 256, "step_size": 0.3}, {"size_px": 256, "step_size": 0.06}),
    "fourier": ({"size_px": 256, "step_size": 0.04}, {"size_px": 256, "step_size": 0.017})}
# Side of a published f16 VQGAN's picture on a CPU and on an accelerator: 12 to 32 codes a side.
SIZES_PX: dict[Quality, tuple[int, int]] = {
    "draft": (192, 256), "normal": (256, 384), "best": (384, 512)}


def automatic_values(own_vqgan: bool, own_guide: bool, quality: Quality,
                     drawer: DrawerName = "vqgan") -> dict[str, Any]:
    """What automatic options become, by name.

    Args:
        own_vqgan: whether the VQGAN is embedded.
        own_guide: whether the guide is.
        quality: of the three.
        drawer: of the three; only the first asks for the VQGAN.
    """
    embedded, published = BY_QUALITY[quality]
    values = EMBEDDED_VALUES | (embedded if own_guide else GUIDED | published)
    if drawer != "vqgan":
        return values | BY_DRAWER[drawer][not own_guide]
    if not own_vqgan:
        size_px = SIZES_PX[quality][torch.cuda.is_available()]
        values |= {"init": "noise", "size_px": size_px}
    return values


def resolve_options(options: T) -> T:
    """The options with what is automatic in them decided; what a person chose stays.

    ``upscaler`` "auto" is "on" for the embedded VQGAN, on whose pictures the upscaler was trained,
    and "off" for any other.

    Args:
        options: ``VQGANCLIPOptions``.
    """
    values = options.model_dump()
    own_vqgan, own_guide = (values[name].startswith(EMBEDDED) for name in ("vqgan", "guide"))
    drawer = values["drawer"]
    wanted = automatic_values(own_vqgan, own_guide, values["quality"], drawer)
    found = {name: value for name, value in wanted.items() if values[name] is None}
    if values["upscaler"] == AUTO:
        found["upscaler"] = "on" if own_vqgan and drawer == "vqgan" else "off"
    return options.model_copy(update=found)


def judges_alone(guides: Sequence[str]) -> bool:
    """Whether all guides are embedded CLIPs that were trained to judge finished pictures.

    What their gradient led to, also through many augmented cutouts, were blank fields, blobs and
    noise (docs/checkpoints.md).

    Args:
        guides: ids.
    """
    return all(guide.startswith(EMBEDDED) and guide != GUIDE for guide in guides)


def check_guides(vqgans: Sequence[str], guides: Sequence[str], catalogue: Catalogue | None) -> None:
    """Refuse an embedded guide for a published VQGAN, and one guide twice.

    Args:
        vqgans: id of the VQGAN, where one draws.
        guides: ids of the guides.
        catalogue: states the networks of published models; a user's own may be anything.

    Raises:
        InvalidRequest: a guide is no judge of what the VQGAN draws, or is there already.
    """
    if len(set(guides)) < len(guides):
        raise InvalidRequest("The same CLIP guides twice: choose another one, or off.",
                             field="second_guide")
    if catalogue is None or not vqgans or not any(
            guide.startswith(EMBEDDED) for guide in guides):
        return
    try:
        entry = catalogue.get(vqgans[0])
    except WeightsError:  # whoever leases it says so
        return
    if entry.repository is not None and entry.network is not None:
        raise InvalidRequest("{} draws photographs, and the embedded guide knows only emoji-like "
                             "pictures: choose a public CLIP as the guide.", entry.title,
                             field="guide")

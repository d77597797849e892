"""The drawer that a run's options choose."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipelines.models.vqgan import VQGAN
from pipelines.vqgan_clip.drawer import Drawer
from pipelines.vqgan_clip.fourier_drawer import FourierDrawer
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pixel_drawer import PixelDrawer
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer


def make_drawer(options: VQGANCLIPOptions, vqgans: Sequence[VQGAN], device: torch.device,
                ) -> Drawer:
    """The drawer of a run.

    Args:
        options: of the run.
        vqgans: those of ``options.vqgans``.
        device: where it draws.
    """
    if vqgans:
        return VQGANDrawer(vqgans[0], options.quantize, options.precision)
    if options.drawer == "pixel":
        return PixelDrawer(options.pixel_px, options.palette_size, device)
    return FourierDrawer(options.wave_decay, device)

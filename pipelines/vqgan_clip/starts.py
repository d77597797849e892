"""Where the latents of a VQGAN start.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipelines.core.errors import InvalidRequest
from pipelines.models.pixels import from_uint8
from pipelines.models.vqgan import VQGAN

Init = Literal["plain", "noise"]
LEAST_LIGHT = 0.75  # of a plain field's channels, in [0, 1]


@torch.no_grad()
def start_latents(vqgan: VQGAN, init: Init, image: np.ndarray | None,
                  shape_px: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
    """Latents to start from, one for each generator.

    Args:
        vqgan: encodes.
        init: "plain" for a light field of one colour, "noise" for random codes; not used with an
            image.
        image: (*shape_px, 3) uint8 RGB.
        shape_px: height and width of the pictures.
        generators: one a candidate, on the CPU.

    Returns:
        (N, embed_dim, height / downsampling, width / downsampling) float32.

    Raises:
        InvalidRequest: the VQGAN has no encoder, and the start needs one.
    """
    if not vqgan.config.encoder and (image is not None or init != "noise"):
        raise InvalidRequest("The VQGAN that is chosen can draw and not read pictures: start from "
                             "noise, or choose another VQGAN.",
                             field="init" if image is None else "init_image")
    weight = vqgan.post_quant_conv.weight
    height, width = (side_px // vqgan.downsampling for side_px in shape_px)
    found = []
    for generator in generators:  # one by one, so that no candidate depends on the others
        if image is None and init == "noise":
            indices = torch.randint(len(vqgan.codebook), (1, height, width), generator=generator)
            found.append(vqgan.lookup(indices.to(weight.device)))
            continue
        if image is None:
            # Light, as most of the world's pictures are; each candidate has a tint of its own.
            light = 1 - (1 - LEAST_LIGHT) * torch.rand(1, 3, 1, 1, generator=generator)
            colour = light * 2 - 1
            pixels = colour.expand(1, 3, *shape_px)
        else:
            pixels = from_uint8(image[None])
        found.append(vqgan.encode_latents(pixels.to(weight.device, weight.dtype)))
    return torch.cat(found).float()

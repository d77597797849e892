"""A picture as the codes of a VQGAN: which they are, what they lose, and what each of them shows.

Source: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021),
section 3.1; codes on a fixed grid: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple"
(2023), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.models.cache.cache import ModelCache
from pipelines.models.pixels import to_squares, to_uint8
from pipelines.models.vqgan import VQGAN

CODER = "embedded/vqgan"
NEAREST = 8
AROUND = 1  # codes on each side of one that are shown with it
Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Codes:
    """A picture, its codes, and what they keep of it.

    Attributes:
        image: (S, S, 3) uint8 RGB, the picture squeezed into the square that the VQGAN reads.
        grid: (G, G) int64, the codes in their places.
        reconstruction: (S, S, 3) uint8 RGB, the codes drawn again.
        count: how many codes there are to choose from.
        levels: how many values each channel of the latent takes, whose product is the count; empty
            where codes are learned.
    """

    image: np.ndarray
    grid: np.ndarray
    reconstruction: np.ndarray
    count: int
    levels: tuple[int, ...] = ()

    @property
    def difference(self) -> np.ndarray:
        """(S, S, 3) uint8, by how much each channel is wrong."""
        return np.abs(self.image.astype(int) - self.reconstruction).astype(np.uint8)

    @property
    def psnr_db(self) -> float:
        """Peak signal-to-noise ratio; infinite where nothing is lost."""
        return psnr_db(self.image, self.reconstruction)

    @property
    def distinct(self) -> int:
        """How many different codes stand in the grid."""
        return len(np.unique(self.grid))


@dataclass(frozen=True, eq=False)
class Near:
    """A code near another one.

    Attributes:
        code: its number.
        distance: Euclidean, between the two latents.
        patch: (P, P, 3) uint8 RGB, what the place would show with it, and the codes around.
    """

    code: int
    distance: float
    patch: np.ndarray


@dataclass(frozen=True, eq=False)
class CodeAt:
    """A code in its place.

    Attributes:
        code: its number.
        read: the one that was read in its place; another where it was put there.
        digits: of its number, one a channel of the latent, each from 0 to its levels; empty where
            codes are learned.
        times: how often it stands in the grid.
        patch: (P, P, 3) uint8 RGB, what it shows here, with the codes around.
        nearest: the nearest others, the nearest first.
        furthest: the one that is furthest from it.
        picture: (S, S, 3) uint8 RGB, all codes drawn, with what was put in place of others.
    """

    code: int
    read: int
    digits: tuple[int, ...]
    times: int
    patch: np.ndarray
    nearest: tuple[Near, ...]
    furthest: Near
    picture: np.ndarray


@dataclass(frozen=True, eq=False)
class ReadCodes:
    """The question which codes a picture has.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
    """

    image: np.ndarray

    @property
    def models(self) -> tuple[str, ...]:
        """The VQGAN."""
        return (CODER,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Codes:
        """See ``Question.answer`` and ``Codes``."""
        with models.lease(CODER, cancelled=cancelled) as vqgan:
            if cancelled():
                raise Cancelled
            return codes_of(self.image, vqgan)


@dataclass(frozen=True, eq=False)
class LookAtCode:
    """The question what one code of a picture is, and which are near it.

    Attributes:
        image: as of ``ReadCodes``.
        place: row and column, from 0.
        swaps: codes that stand in places of others, by row and column.
    """

    image: np.ndarray
    place: Place
    swaps: Mapping[Place, int] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """The VQGAN."""
        return (CODER,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> CodeAt:
        """See ``Question.answer`` and ``CodeAt``.

        Raises:
            InvalidRequest: there is no such place or code.
        """
        with models.lease(CODER, cancelled=cancelled) as vqgan:
            read = read_grid(self.image, vqgan)[1]
            grid = read.copy()
            for place, code in self.swaps.items():
                grid[_checked(place, grid)] = _checked_code(code, vqgan)
            place = _checked(self.place, grid)
            if cancelled():
                raise Cancelled
            return code_at(grid, place, vqgan, int(read[place]))


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures, uint8; infinite where they are the same."""
    error = float(((one.astype(float) - other) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@torch.no_grad()
def read_grid(image: np.ndarray, vqgan: VQGAN) -> tuple[np.ndarray, np.ndarray]:
    """What a VQGAN reads of a picture (H, W, 3) uint8 RGB of any size.

    Returns:
        The square (S, S, 3) uint8 that it looks at, and the codes (G, G) int64.

    Raises:
        InvalidRequest: its encoder is not there.
    """
    if not vqgan.config.encoder:
        raise InvalidRequest("This VQGAN can only draw: its file has no encoder.", field="model")
    weight = vqgan.post_quant_conv.weight
    pixels = to_squares([image], vqgan.config.resolution, weight.device) * 2 - 1
    return to_uint8(pixels)[0], vqgan.encode(pixels.to(weight.dtype))[0].cpu().numpy()


@torch.no_grad()
def codes_of(image: np.ndarray, vqgan: VQGAN) -> Codes:
    """A picture's codes and what they keep of it; see ``Codes``."""
    square, grid = read_grid(image, vqgan)
    return Codes(square, grid, draw_grids(grid[None], vqgan)[0], vqgan.codes,
                 tuple(vqgan.config.levels or ()))


@torch.no_grad()
def draw_grids(grids: np.ndarray, vqgan: VQGAN) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 RGB of codes (N, G, G) int64."""
    codes = torch.from_numpy(grids).to(vqgan.post_quant_conv.weight.device)
    return to_uint8(vqgan.decode_indices(codes))


@torch.no_grad()
def code_at(grid: np.ndarray, place: Place, vqgan: VQGAN, read: int) -> CodeAt:
    """What a code is and what stands near it; see ``CodeAt``.

    Args:
        grid: (G, G) int64.
        place: row and column of one of them.
        vqgan: draws them.
        read: the code that was read there.
    """
    code = int(grid[place])
    near, distances = others(code, vqgan)
    grids = np.repeat(grid[None], 1 + len(near), 0)
    grids[1:, place[0], place[1]] = near
    pictures = draw_grids(grids, vqgan)
    patches = [patch_of(picture, place, vqgan.downsampling) for picture in pictures]
    return CodeAt(code, read, digits_of(code, vqgan), int((grid == code).sum()),
                  patches[0], tuple(map(Near, near, distances, patches[1:]))[:-1],
                  Near(near[-1], distances[-1], patches[-1]), pictures[0])


@torch.no_grad()
def others(code: int, vqgan: VQGAN) -> tuple[list[int], list[float]]:
    """The codes whose latents are nearest to that of a code, at last the furthest of all, and how
    far they are from it."""
    book = vqgan.codebook.float()
    distances = (book - book[code]).norm(dim=-1)
    distances[code] = torch.inf
    near = torch.argsort(distances, stable=True)[:NEAREST].tolist()
    distances[code] = 0
    found = [*near, int(distances.argmax())]
    return found, distances[found].tolist()


def digits_of(code: int, vqgan: VQGAN) -> tuple[int, ...]:
    """The digits of a code's number, the most significant first; see ``CodeAt.digits``."""
    digits = []
    for count in reversed(vqgan.config.levels or ()):
        code, digit = divmod(code, count)
        digits.append(digit)
    return tuple(reversed(digits))


def patch_of(picture: np.ndarray, place: Place, scale: int) -> np.ndarray:
    """The part of a picture that a code and those around it draw; at an edge there are fewer."""
    (top, bottom), (left, right) = ((max(0, at - AROUND) * scale, (at + 1 + AROUND) * scale)
                                    for at in place)
    return picture[top:bottom, left:right]


def _checked(place: Place, grid: np.ndarray) -> Place:
    """A place of the grid.

    Raises:
        InvalidRequest: there is none such.
    """
    if not all(0 <= at < side for at, side in zip(place, grid.shape, strict=True)):
        raise InvalidRequest("Rows and columns of the codes go from 0 to {}: there is none in "
                             "row {}, column {}.", len(grid) - 1, place[0], place[1], field="place")
    return place


def _checked_code(code: int, vqgan: VQGAN) -> int:
    if not 0 <= code < vqgan.codes:
        raise InvalidRequest("Codes are numbers from 0 to {:,}, not {:,}.", vqgan.codes - 1, code,
                             field="swaps")
    return code

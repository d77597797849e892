"""Options of VQGAN+CLIP, which follow Pixray and the notebooks before it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field
from pydantic.config import JsonDict

from pipelines.core.aspect import SQUARE, oblongs_px, sides_px
from pipelines.core.options import Options, auto_field
from pipelines.model_options import OFF, auto_ranker_field, model_field, precision_field
from pipelines.models.checkpoints.ids import GUIDE, RANKER
from pipelines.models.precision import Precision
from pipelines.negative_prompt import negative_field
from pipelines.vqgan_clip.camera import Camera
from pipelines.vqgan_clip.cutouts import Augmentations, Cutouts
from pipelines.vqgan_clip.descent import Optimiser, Schedule
from pipelines.vqgan_clip.drawer import DrawerName
from pipelines.vqgan_clip.pictures import Marks
from pipelines.vqgan_clip.presets import Quality
from pipelines.vqgan_clip.starts import Init
from pipelines.vqgan_clip.terms import Terms

UPSCALER = "embedded/upscaler"
MODELS = ("embedded/vqgan", GUIDE, UPSCALER, RANKER)
ADVANCED: JsonDict = {"advanced": True}
SIZES_PX = range(128, 769, 64)
# Pixels to a code, of the VQGANs that are known before they are loaded.
DOWNSAMPLING = {"embedded/vqgan": 8, "embedded/vqgan-256": 16}


class VQGANCLIPOptions(Options):
    """How a picture is optimised."""

    negative_prompt: str = negative_field()
    quality: Quality = Field(
        default="normal", title="Quality",
        description="What auto becomes: a draft takes fewer steps, the best takes more.")
    drawer: DrawerName = Field(
        default="vqgan", title="Drawer",
        description="What is moved: latents of a VQGAN, the colours of pixel art, or waves, a "
                    "Fourier series. The last two know nothing of pictures.")
    iterations: int = auto_field(
        ge=1, le=1000, title="Iterations", description="Steps of the optimisation.")
    size_px: int = auto_field(
        ge=SIZES_PX[0], le=SIZES_PX[-1], multiple_of=SIZES_PX.step, title="Size in px",
        description="Side of the square picture before it is drawn twice as large.")
    aspect: str = Field(
        default=SQUARE, max_length=20, title="Proportions",
        description="Width to height, such as 3:2; the picture has as many pixels as the square.")
    init: Init = auto_field(
        title="Start",
        description="A light field, random codes, random pixels or a gradient, where no init image "
                    "is the start.")
    from_image: bool = Field(
        default=True, title="Start from the init image",
        description="Without this the init image is only a target, an image prompt.")
    init_noise: float = Field(
        default=0.0, ge=0, le=1, title="Noise on the init image", json_schema_extra=ADVANCED,
        description="Share of the init image that is random at the start.")
    init_weight: float = Field(
        default=0.0, ge=0, le=100, title="Init weight",
        description="How strongly the picture is held at the init image.")
    init_decay: float = Field(
        default=0.0, ge=0, le=1, title="Init weight decay", json_schema_extra=ADVANCED,
        description="Share of the steps in which the init weight falls to nothing; 0 keeps it.")
    image_weight: float = Field(
        default=0.0, ge=-10, le=10, title="Image prompt weight",
        description="How strongly the init image is also a target beside the prompt.")
    image_prompt_weights: str = Field(
        default="", max_length=60, title="Weights of the image prompts",
        json_schema_extra=ADVANCED,
        description="One for each with commas between them, such as 1, -0.5; 1 each where empty.")
    mask_marks: Marks = Field(
        default="free", title="The mask marks", json_schema_extra=ADVANCED,
        description="Whether white or transparent places of the mask may change, or are kept.")
    story_steps: int = Field(
        default=0, ge=0, le=1000, title="Steps of each part", json_schema_extra=ADVANCED,
        description="For a story, prompts joined by carets (^): steps until the next one begins; 0 "
                    "shares the steps between them.")
    move_every: int = Field(
        default=0, ge=0, le=1000, title="Camera moves every", json_schema_extra=ADVANCED,
        description="Steps between two moves of the camera, for a video that flies; 0 for none.")
    zoom: float = Field(
        default=1.0, ge=0.5, le=2, title="Zoom", json_schema_extra=ADVANCED,
        description="How much larger the picture is after each move; below 1 it goes away.")
    shift_right: float = Field(
        default=0.0, ge=-0.5, le=0.5, title="Shift to the right", json_schema_extra=ADVANCED,
        description="Share of its width by which each move shifts the picture.")
    shift_down: float = Field(
        default=0.0, ge=-0.5, le=0.5, title="Shift down", json_schema_extra=ADVANCED,
        description="Share of its height by which each move shifts the picture.")
    turn: float = Field(
        default=0.0, ge=-90, le=90, title="Turn", json_schema_extra=ADVANCED,
        description="Degrees by which each move turns the picture, clockwise.")
    pixel_px: int = Field(
        default=8, ge=1, le=32, title="Pixel size in px", json_schema_extra=ADVANCED,
        description="Side of each square of pixel art.")
    palette_size: int = Field(
        default=16, ge=2, le=256, title="Palette", json_schema_extra=ADVANCED,
        description="How many colours pixel art has; each picture chooses them for itself.")
    wave_decay: float = Field(
        default=1.0, ge=0, le=2, title="Wave decay", json_schema_extra=ADVANCED,
        description="How much less short waves count than long ones, in a picture of waves.")
    step_size: float = auto_field(
        ge=0.001, le=2, title="Step size", advanced=True,
        description="How far the latents, colours or waves move in the first step.")
    optimiser: Optimiser = auto_field(
        title="Optimiser", advanced=True, description="Which rule turns gradients into steps.")
    schedule: Schedule = auto_field(
        title="Schedule", advanced=True,
        description="Whether steps grow shorter towards the end.")
    drops: str = Field(
        default="", max_length=60, title="Step size drops", json_schema_extra=ADVANCED,
        description="After how many per cent of the steps they become a tenth as long, such as 75 "
                    "or 50, 80.")
    patience: int = Field(
        default=0, ge=0, le=1000, title="Patience", json_schema_extra=ADVANCED,
        description="Steps without a better picture after which it is finished; 0 for never.")
    coarse: float = Field(
        default=0.0, ge=0, le=1, title="Coarse first", json_schema_extra=ADVANCED,
        description="Share of the steps that shape the picture in large blocks.")
    num_cutouts: int = auto_field(
        ge=1, le=64, title="Cutouts", advanced=True,
        description="Parts of the picture that CLIP looks at in each step.")
    cutouts_at_once: int = Field(
        default=64, ge=1, le=64, title="Cutouts at once", json_schema_extra=ADVANCED,
        description="Fewer need less memory and give the same picture but for rounding; a device "
                    "that is full takes fewer by itself.")
    cut_power: float = Field(
        default=1.0, ge=0.1, le=10, title="Cut power", json_schema_extra=ADVANCED,
        description="More makes cutouts smaller, less makes them larger.")
    smallest_cut: float = auto_field(
        ge=0.1, le=1, title="Smallest cutout", advanced=True,
        description="Side of the smallest cutout as a share of the picture's.")
    whole_cuts: float = auto_field(
        ge=0, le=1, title="Whole pictures", advanced=True,
        description="Share of cutouts that show the whole picture.")
    augmentations: Augmentations = auto_field(
        title="Augmentations", advanced=True,
        description="How far cutouts are turned, tilted and recoloured.")
    flip: bool = Field(
        default=False, title="Mirror", json_schema_extra=ADVANCED,
        description="Mirror half of the cutouts, which makes left and right the same.")
    noise: float = auto_field(
        ge=0, le=0.5, title="Noise", advanced=True, description="Most noise added to a cutout.")
    smoothness: float = Field(
        default=0.0, ge=0, le=10, title="Smoothness", json_schema_extra=ADVANCED,
        description="How strongly differences between neighbouring pixels are held down.")
    mse_weight: float = Field(
        default=0.0, ge=0, le=100, title="Regularisation", json_schema_extra=ADVANCED,
        description="How strongly the latents are held small, against glare and noise.")
    mse_decay: float = Field(
        default=0.5, ge=0, le=1, title="Regularisation decay", json_schema_extra=ADVANCED,
        description="Share of the steps in which the regularisation falls to nothing; 0 keeps it.")
    quantize: bool = Field(
        default=True, title="Codes only", json_schema_extra=ADVANCED,
        description="Draw with the nearest codes of the VQGAN instead of anything in between.")
    precision: Precision = precision_field()
    preview_every: int = Field(
        default=5, ge=1, le=1000, title="Preview interval", json_schema_extra=ADVANCED,
        description="Steps between previews.")
    vqgan: str = model_field(
        MODELS[0], "vqgan", "VQGAN", "The network whose latents are moved.", advanced=True)
    guide: str = model_field(
        MODELS[1], "clip", "Guide", "The CLIP that says how well the picture matches.",
        advanced=True)
    second_guide: str = model_field(
        OFF, "clip", "Second guide", "A further CLIP that has to agree; it costs its own time.",
        advanced=True)
    third_guide: str = model_field(
        OFF, "clip", "Third guide", "One more.", advanced=True)
    ranker: str = auto_ranker_field()
    upscaler: Literal["auto", "on", "off"] = Field(
        default="auto", title="Upscaler", json_schema_extra=ADVANCED,
        description="Draw the picture twice as large; auto does so for the embedded VQGAN alone.")

    def vqgans(self) -> tuple[str, ...]:
        """Id of the VQGAN, where it is one that draws."""
        return (self.vqgan,) if self.drawer == "vqgan" else ()

    def guides(self) -> tuple[str, ...]:
        """Ids of the CLIPs that guide, the first one first."""
        more = (self.second_guide, self.third_guide)
        return (self.guide, *(guide for guide in more if guide != OFF))

    def cutouts(self) -> Cutouts:
        """How cutouts are made."""
        return Cutouts(self.num_cutouts, self.cut_power, self.smallest_cut, self.whole_cuts,
                       self.augmentations, self.flip, self.noise)

    def camera(self) -> Camera:
        """The camera, before its first move."""
        return Camera(self.move_every, self.zoom, self.shift_right, self.shift_down, self.turn)

    def terms(self) -> Terms:
        """What the loss has beside the guides."""
        return Terms(self.init_weight, self.init_decay, self.mse_weight, self.mse_decay,
                     self.smoothness)


def shapes_px(options: VQGANCLIPOptions) -> Mapping[tuple[int, int], Mapping[str, Any]]:
    """Width and height of pictures that are drawn exactly so, squares first, each with ``size_px``
    and ``aspect`` that make it so.

    By a VQGAN that is not known before it is loaded, only squares, whose sides any divides.

    Args:
        options: the others, resolved.
    """
    cells_px = {"pixel": options.pixel_px, "fourier": 1}
    cell_px = cells_px.get(options.drawer, DOWNSAMPLING.get(options.vqgan, 0))
    return _shapes_px(cell_px, 2 if options.upscaler == "on" else 1)


@cache
def _shapes_px(cell_px: int, enlarged: int) -> Mapping[tuple[int, int], Mapping[str, Any]]:
    found: dict[tuple[int, int], Mapping[str, Any]] = {}
    for size_px in SIZES_PX:
        side = enlarged * sides_px(size_px, 1.0, cell_px or 1)[0]
        found.setdefault((side, side), {"size_px": size_px, "aspect": SQUARE})
    oblongs = oblongs_px(SIZES_PX, cell_px) if cell_px else {}
    for (width, height), (size_px, aspect) in oblongs.items():
        found[enlarged * width, enlarged * height] = {"size_px": size_px, "aspect": aspect}
    return MappingProxyType(found)

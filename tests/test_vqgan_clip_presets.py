"""What "auto" becomes for a guide and a VQGAN, and pairs that are refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from pipelines.core.errors import InvalidRequest
from pipelines.core.options import option_fields
from pipelines.core.request import CheckedRequest
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import Registry
from pipelines.vqgan_clip.drawer import DrawerName
from pipelines.vqgan_clip.options import MODELS, VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from pipelines.vqgan_clip.presets import (
    BY_QUALITY,
    EMBEDDED_VALUES,
    GUIDED,
    SIZES_PX,
    Quality,
    automatic_values,
)

PUBLIC = {"vqgan": "compvis/vqgan-f16-16384", "guide": "openai/clip-vit-b-32"}
DEFAULTS = {**VQGANCLIPOptions().model_dump(), **EMBEDDED_VALUES, "ranker": RANKER}


@pytest.fixture(scope="module")
def registry() -> Registry:
    built = Registry()
    built.register(VQGANCLIPPipeline(Catalogue.load()))
    return built


def settled(registry: Registry, **options: Any) -> dict[str, Any]:
    """The options that a run gets, and that are kept with its pictures."""
    return checked(registry, **options).options.model_dump()


def checked(registry: Registry, **options: Any) -> CheckedRequest[Any]:
    return registry.check({"pipeline": "vqgan_clip", "prompt": "a harbour", "options": options})


def test_embedded_models_keep_their_settings(registry: Registry) -> None:
    assert settled(registry) == {**DEFAULTS, "upscaler": "on", "ranker": RANKER}
    assert registry.get("vqgan_clip").models_of(checked(registry)) == MODELS


def test_a_public_pair_gets_what_such_tools_use(registry: Registry,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = {**DEFAULTS, **PUBLIC, **GUIDED, "init": "noise", "size_px": 256,
                "upscaler": "off"}
    found = settled(registry, **PUBLIC)
    assert found == expected
    assert (found["optimiser"], found["num_cutouts"], found["schedule"]) == (
        "adam", 32, "constant")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert settled(registry, **PUBLIC)["size_px"] == 384
    assert settled(registry, **found) == found, "what is decided stays"
    assert "embedded/upscaler" not in registry.get("vqgan_clip").models_of(
        checked(registry, **PUBLIC))


@pytest.mark.parametrize("quality", list(BY_QUALITY))
@pytest.mark.parametrize("own_vqgan", [True, False])
@pytest.mark.parametrize("own_guide", [True, False])
@pytest.mark.parametrize("drawer", get_args(DrawerName))
def test_every_automatic_option_gets_a_value_that_may_be_chosen(
        drawer: DrawerName, own_vqgan: bool, own_guide: bool, quality: Quality) -> None:
    values = automatic_values(own_vqgan, own_guide, quality, drawer)
    assert values.keys() == {option.name for option in option_fields(VQGANCLIPOptions)
                             if option.auto}
    assert VQGANCLIPOptions(**values).model_dump().items() >= values.items()


@pytest.mark.parametrize("models", [{}, PUBLIC])
def test_a_better_quality_takes_more(registry: Registry, models: dict[str, str]) -> None:
    draft, normal, best = (settled(registry, quality=quality, **models) for quality in SIZES_PX)
    for name in ("iterations", "num_cutouts", "size_px"):
        assert draft[name] <= normal[name] <= best[name]
    assert draft["iterations"] < normal["iterations"] < best["iterations"]
    assert (draft["size_px"] < best["size_px"]) == bool(models)


@pytest.mark.parametrize("drawer", ["pixel", "fourier"])
def test_a_drawer_without_a_vqgan_has_settings_of_its_own(registry: Registry, drawer: str) -> None:
    found = settled(registry, drawer=drawer)
    assert (found["size_px"], found["upscaler"]) == (256, "off")
    assert settled(registry, drawer=drawer, vqgan=PUBLIC["vqgan"]) == {
        **found, "vqgan": PUBLIC["vqgan"]}, "whichever VQGAN does not draw"
    guided = settled(registry, drawer=drawer, guide=PUBLIC["guide"])
    assert guided["num_cutouts"] == 32
    assert guided["step_size"] < found["step_size"]


def test_auto_may_be_written_and_a_choice_is_a_choice(registry: Registry) -> None:
    assert settled(registry, iterations="auto", init=None) == settled(registry)
    with pytest.raises(InvalidRequest, match=r"^Cut power must be a number between 0.1 and 10, not "
                                             r"'auto'\.$"):
        settled(registry, cut_power="auto")


def test_what_a_person_chose_stays(registry: Registry) -> None:
    own = {"num_cutouts": 8, "iterations": 40, "optimiser": "sgd", "upscaler": "on",
           "size_px": 192, "augmentations": "strong"}
    found = settled(registry, **PUBLIC, **own)
    assert {name: found[name] for name in own} == own
    assert found["noise"] == GUIDED["noise"]


def test_a_public_guide_alone_keeps_size_and_start(registry: Registry) -> None:
    found = settled(registry, guide=PUBLIC["guide"])
    assert (found["size_px"], found["init"], found["upscaler"]) == (128, "plain", "on")
    assert found["num_cutouts"] == 32


@pytest.mark.parametrize("vqgan", ["compvis/vqgan-f16-1024", "kuprel/vqgan-f16-16384"])
def test_the_embedded_guide_is_refused_for_a_public_vqgan(registry: Registry, vqgan: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^VQGAN .* draws photographs, and the embedded guide "
                                             r"knows only emoji-like pictures: choose a public "
                                             r"CLIP as the guide\.$") as caught:
        settled(registry, vqgan=vqgan)
    assert caught.value.field == "guide"


def test_a_run_that_began_earlier_keeps_its_options(registry: Registry) -> None:
    """Those of today are settled; before there were automatic options all stood at one value."""
    def kept(options: dict[str, Any]) -> dict[str, Any]:
        request = {"pipeline": "vqgan_clip", "prompt": "a harbour", "options": options}
        return registry.check(request, kept=True).options.model_dump()

    longer = {**settled(registry, **PUBLIC), "iterations": 100}
    assert kept(longer) == longer, "steps that are asked for now, though it is the default"
    former = {"ranker": RANKER, "upscaler": "on", **EMBEDDED_VALUES}
    for models in (PUBLIC, {"vqgan": PUBLIC["vqgan"]}, {}):
        assert kept(models) == {**DEFAULTS, **models, **former}

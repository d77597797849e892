"""What a picture's settings fill in on the Generate tab, and what they leave alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.history.recall import Recalled, recall, recalled_from_facts
from easel.history.records import Filters, HistoryError
from easel.ui.generate.recall import fill, kept_picture
from easel.ui.generate.run import prepare
from easel.ui.history.render import render_facts, render_gallery, render_prompt, runs
from easel.ui.history.selection import perform
from easel.ui.history.two import render_two
from easel.ui.parts.controls import GenerateInputs, build_choice, build_pictures, meant_options
from easel.ui.parts.option_form import build_option_forms, render_forms
from easel.ui.parts.tiles import kept_note
from easel.words import strings
from pipelines.core.errors import InvalidRequest
from pipelines.core.metadata import provenance
from pipelines.core.options import option_fields
from pipelines.dalle import DallePipeline
from pipelines.registry import Registry
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.kept import new_picture, opened
from tests.test_history_recall import A1111_FILES
from tests.test_shared_pictures import Collage


@pytest.fixture(scope="module")
def inputs() -> GenerateInputs:
    with gr.Blocks(analytics_enabled=False):
        groups = [build_choice(pipeline, chosen=True)
                  for pipeline in (DallePipeline(), VQGANCLIPPipeline())]
        options = build_option_forms(group.pipeline for group in groups)
        for group in groups:
            build_pictures(group)
        return GenerateInputs(gr.Textbox(), gr.Textbox(), groups, gr.HTML(), gr.File(),
                              gr.Textbox(), options, gr.Textbox())


def named(inputs: GenerateInputs, updates: dict[Any, Any]) -> dict[str, Any]:
    """Updates by readable names, as in "dalle.top_k"."""
    names: dict[Any, str] = {inputs.prompt: "prompt", inputs.seed: "seed",
                             inputs.handed: "handed"}
    for group in inputs.controls:
        own = group.pipeline.name
        names |= {group.chosen: own, group.num_images: f"{own}.count",
                  group.varied: f"{own}.varied"}
        names |= {file: f"{own}.{name}" for name, file in group.pictures.files.items()}
    form = (inputs.options.html, inputs.options.text)
    found = {names[component]: value for component, value in updates.items()
             if component not in form}
    if inputs.options.text in updates:
        said = inputs.options.read(updates[inputs.options.text])
        assert render_forms(inputs.options.pipelines, said) in updates[inputs.options.html]
        found |= {f"{group.pipeline.name}.{option.name}":
                  said[group.pipeline.name].get(option.name, option.default)
                  for group in inputs.controls for option in option_fields(group.pipeline.Options)}
    return found


def defaults(inputs: GenerateInputs) -> dict[str, Any]:
    """What of the form does not say which generators draw, and how many pictures, as it starts."""
    found: dict[str, Any] = {"prompt": "", "seed": "", "handed": ""}
    for group in inputs.controls:
        own = group.pipeline.name
        found |= {f"{own}.{option.name}": option.default
                  for option in option_fields(group.pipeline.Options)} | {f"{own}.varied": ""}
        found |= dict.fromkeys(f"{own}.{name}" for name in group.pictures.files)
    return found


def test_easels_own_picture_fills_everything_of_its_generator(inputs: GenerateInputs) -> None:
    facts = new_picture(seed=9, num_images=3, options={"guidance_scale": 4.0, "top_k": 10**9,
                                                       "unheard_of": 1}).facts
    filled = fill(inputs, recalled_from_facts(facts))
    values = named(inputs, filled.updates)
    assert values == {**defaults(inputs), "prompt": "a red apple", "seed": "9", "dalle": True,
                      "vqgan_clip": False, "dalle.count": 3, "dalle.guidance_scale": 4.0}
    assert values["dalle.top_k"] == 64, "bounds hold"
    assert filled.note.startswith("From Easel: prompt, seed, generator DALL·E")
    assert "top k 1000000000" in filled.note
    assert "unheard of 1" in filled.note
    assert named(inputs, fill(inputs, recalled_from_facts(facts), 2**32 + 5, 1).updates)[
        "seed"] == "5", "seeds go round"


def test_a_picture_from_before_automatic_options_is_drawn_as_it_was(inputs: GenerateInputs) -> None:
    facts = new_picture(pipeline="vqgan_clip", options={"guide": "openai/clip-vit-b-32",
                                                        "num_cutouts": 1}).facts
    values = named(inputs, fill(inputs, recalled_from_facts(facts)).updates)
    assert (values["vqgan_clip.iterations"], values["vqgan_clip.upscaler"]) == (100, "on")
    now = {**facts, "options": facts["options"] | {"iterations": 300, "upscaler": "off"}}
    values = named(inputs, fill(inputs, recalled_from_facts(now)).updates)
    assert (values["vqgan_clip.iterations"], values["vqgan_clip.upscaler"]) == (300, "off")


def test_another_tools_numbers_are_told_and_not_taken(inputs: GenerateInputs) -> None:
    filled = fill(inputs, recall(A1111_FILES["png"]))
    negative = {f"{group.pipeline.name}.negative_prompt": "blurry,\ntext"
                for group in inputs.controls}
    assert named(inputs, filled.updates) == {
        **defaults(inputs), **negative, "prompt": "a castle, (detailed:1.2)\non a hill",
        "seed": "965400086"}
    assert filled.note == (
        "From A1111: prompt, seed, negative prompt. Without a place here: Steps 20, "
        "Sampler Euler a, CFG scale 7.5, Size 512x768, Model dreamshaper, Version v1.6.0. "
        "Everything else is at its default.")


def test_a_generator_that_is_not_installed_is_told(inputs: GenerateInputs) -> None:
    filled = fill(inputs, Recalled("Easel", "x", pipeline="janus", options={"top_k": 5}))
    assert named(inputs, filled.updates) == {**defaults(inputs), "prompt": "x"}
    assert filled.note == (
        "From Easel: prompt. Without a place here: generator janus, top k 5. Not found, so empty "
        "now: seed. Everything else is at its default.")
    nothing = fill(inputs, Recalled("ComfyUI"))
    assert named(inputs, nothing.updates) == defaults(inputs)
    assert nothing.note == ("From ComfyUI: nothing that fits. Not found, so empty now: prompt, "
                            "seed. Everything else is at its default.")
    many = Recalled("A1111", other=tuple((f"L{n}", "x") for n in range(30)))
    assert "L19 x, 10 more." in fill(inputs, many).note
    assert filled.updates.keys() <= set(inputs.components())


def test_pictures_of_a_run_that_are_in_the_history_are_set_again() -> None:
    """Init image, image prompts and mask, each by the hash that the picture names."""
    with gr.Blocks(analytics_enabled=False):
        group = build_choice(Collage(), chosen=True)
        options = build_option_forms([group.pipeline])
        build_pictures(group)
        inputs = GenerateInputs(gr.Textbox(), gr.Textbox(), [group], gr.HTML(), gr.File(),
                                gr.Textbox(), options, gr.Textbox())
    start, one, other, mask = (letter * 64 for letter in "abcd")
    facts = new_picture(pipeline="collage", options={}, init_image_sha256=start, mask_sha256=mask,
                        image_prompts_sha256=[one, other]).facts
    found = recalled_from_facts(facts)
    there = {digest: f"/cache/{digest[0]}.png" for digest in (start, one, other, mask)}
    filled = fill(inputs, found, find=lambda file, digest: there.get(digest))
    values = named(inputs, filled.updates)
    assert (values["collage.init_image"], values["collage.mask"]) == (there[start], there[mask])
    assert values["collage.image_prompts"] == [there[one], there[other]]
    assert filled.note.endswith("Everything else is at its default.")
    for gone, says in ((start, strings.INIT_GONE), (mask, strings.PICTURES_GONE),
                       (one, strings.PICTURES_GONE)):
        some = {digest: path for digest, path in there.items() if digest != gone}
        filled = fill(inputs, found, find=lambda file, digest, some=some: some.get(digest))
        assert filled.note.endswith(f" {says}")
    nowhere = fill(inputs, found)
    assert nowhere.note.endswith(f" {strings.INIT_GONE} {strings.PICTURES_GONE}")
    assert named(inputs, nowhere.updates)["collage.image_prompts"] is None
    for odd in (5, "x", ["x", 5], [[start]], {}, "A" * 64):
        assert recalled_from_facts({**facts, "image_prompts_sha256": odd,
                                    "init_image_sha256": None, "mask_sha256": odd}).pictures == {}


def test_a_dropped_picture_finds_its_own_pictures_in_the_visitors_history(tmp_path: Path) -> None:
    file = gr.File()
    with opened(tmp_path) as history:
        [start] = history.add("me", [new_picture(seed=3)])
        find = kept_picture(history, "me")
        path = find(file, start.sha256)
        assert path is not None
        assert Path(path).read_bytes() == new_picture(seed=3).data
        assert find(file, "ab" * 32) is None
        assert kept_picture(history, "you")(file, start.sha256) is None, "it is not theirs"
        history.delete("me", [start.id])
        history.purge("me")
        assert find(file, start.sha256) is None


PICTURES = st.builds(
    Recalled, st.sampled_from(["Easel", "A1111"]), st.sampled_from(["", "a cat"]),
    st.sampled_from(["", "ugly"]), st.none() | st.integers(0, 2**32 - 1),
    st.sampled_from(["", "dalle", "vqgan_clip", "janus"]), st.none() | st.integers(1, 16),
    st.dictionaries(st.sampled_from(["guidance_scale", "top_k", "iterations", "unknown"]),
                    st.integers(-3, 300) | st.text(max_size=3), max_size=4))


@given(PICTURES, PICTURES)
def test_nothing_of_an_earlier_picture_stays(inputs: GenerateInputs, first: Recalled,
                                             second: Recalled) -> None:
    fresh = named(inputs, fill(inputs, second).updates)
    after = {**named(inputs, fill(inputs, first).updates), **fresh}
    ticks = {name for group in inputs.controls
             for name in (group.pipeline.name, f"{group.pipeline.name}.count")}
    assert {name: after[name] for name in after.keys() - ticks} == {
        name: fresh[name] for name in fresh.keys() - ticks}
    assert defaults(inputs).keys() <= fresh.keys()
    drew = [group for group in inputs.controls if group.pipeline.name == second.pipeline]
    for group in inputs.controls:
        if group not in drew:
            own = group.pipeline.name
            assert all(fresh[f"{own}.{option.name}"] == option.default
                       for option in option_fields(group.pipeline.Options)
                       if option.name != "negative_prompt")
    told = fill(inputs, second).note
    assert ("seed" in told.partition("empty now:")[2]) == (second.seed is None)


def test_script_is_inert_wherever_it_comes_from(inputs: GenerateInputs, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    with opened(tmp_path) as history:
        [kept] = history.add("me", [new_picture(
            evil, pipeline=evil[:60], model=evil, options={evil: evil}, versions={evil: evil},
            elapsed_s=evil, weights={evil: evil}, stopped=evil)])
        html = [render_gallery(history.page("me"), Filters(text=evil), Registry()),
                render_gallery(history.page("me", Filters(text="no")), Filters(text="no"),
                               Registry()),
                render_prompt(kept), render_facts(kept, Registry()),
                kept_note(fill(inputs, Recalled(evil, evil, options={evil: evil},
                                                  other=((evil, evil),))).note)]
    for text in html:
        assert "<script" not in text
        assert "<img src=x" not in text
        assert "\"'>" not in text


def test_pictures_of_a_run_are_together_and_several_are_changed_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        first = history.add("me", [new_picture("a dog"), new_picture("a dog")])
        history.add("me", [new_picture("a cat")])
        last = history.add("me", [new_picture("a dog")])
        later = [replace(each, created_s=each.created_s + 3600) for each in last]
        assert [len(run) for run in runs([*later, *reversed(first)])] == [1, 2]
        assert [len(run) for run in runs(history.page("me").pictures)] == [1, 1, 2]
        ids = ",".join(each.id for each in first)
        assert perform(history, "me", f"favourite {ids} 1") == ("favourite", ids.split(","))
        assert history.page("me", Filters(favourite=True)).total == 2
        perform(history, "me", f"unstar {first[0].id} 2")
        perform(history, "me", f"delete {ids} 3")
        assert history.page("me").total == 2
        perform(history, "me", f"restore {ids} 4")
        assert history.page("me", Filters(favourite=True)).total == 1
        with pytest.raises(HistoryError):
            perform(history, "you", f"delete {ids} 5")
        assert perform(history, "me", f"two {ids} 6") == ("two", ids.split(","))
        with pytest.raises(InvalidRequest, match=r"^Two pictures are compared, not 1\.$"):
            perform(history, "me", f"two {first[0].id} 6")
        with pytest.raises(InvalidRequest, match="'explode' to do"):
            perform(history, "me", f"explode {ids} 6")


def test_of_two_pictures_what_differs_is_said(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        one, other = history.add("me", [
            new_picture("a <b>dog</b>", 3), new_picture("a cat", 4, scores={"clip": 0.5})])
        shown = render_two(one, other, Registry())
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th>(<td>.*?</td><td>.*?</td>)', shown))
    assert rows["Prompt"] == "<td>a &lt;b&gt;dog&lt;/b&gt;</td><td>a cat</td>"
    assert rows["Seed"] == "<td>3</td><td>4</td>"
    assert "Size" not in rows, "they are equally large"
    assert shown.index(f"history/{other.id}/picture") < shown.index(f"history/{one.id}/picture")


def test_vary_names_the_parent_for_as_long_as_its_seed_stands() -> None:
    registry = Registry()
    registry.register(DallePipeline())
    playground: Any = SimpleNamespace(registry=registry)
    parent = "ab" * 16

    def parents(told: str, seed: str | None) -> tuple[str, ...]:
        [request] = prepare(playground, "a cat", seed,  # type: ignore[arg-type]
                            [{"pipeline": "dalle", "varied": told}])
        return request.parents

    assert parents(f"{parent} 7", "7") == (parent,)
    assert parents(f"{parent} 7", "8") == ()
    assert parents(f"{parent} 7", None) == ()
    assert parents("", "7") == ()
    with pytest.raises(InvalidRequest, match="Parents"):
        parents("../../x 7", "7")
    request = registry.check({"pipeline": "dalle", "prompt": "x", "parents": (parent,)})
    facts = provenance(request, {})
    assert facts["parents"] == [parent]


def test_words_that_come_with_a_picture_are_meant() -> None:
    unclip, dalle = UnclipPipeline(), DallePipeline()
    same = meant_options(unclip, {}, " a cat ", "a cat")
    assert same == {}, "the picture's own words ask for variations of it"
    assert meant_options(unclip, {}, "a black cat", "a cat") == {"picture": "difference"}
    assert meant_options(unclip, {"picture": "variation"}, "a black cat", "a cat") == {
        "picture": "variation"}, "what was set by hand stays"
    assert meant_options(unclip, {}, "a black cat", "") == {}
    assert meant_options(dalle, {"top_k": 3}, "a black cat", "a cat") == {"top_k": 3}

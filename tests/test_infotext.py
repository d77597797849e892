"""A1111's text is read as it was meant, with lines before, after and missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.infotext import KNOWN, parse_parameters, split_pairs

SETTINGS = ("Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 1234, Size: 512x512, "
            "Model hash: abc, Model: some_model, Version: v1.9.0")
PAIRS = {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7.5", "Seed": "1234",
         "Size": "512x512", "Model hash": "abc", "Model": "some_model", "Version": "v1.9.0"}


@pytest.mark.parametrize(("text", "prompt", "negative", "more"), [
    (f"a red apple\nNegative prompt: ugly\n{SETTINGS}", "a red apple", "ugly", {}),
    (f"Negative prompt: ugly\n{SETTINGS}", "", "ugly", {}),
    (f"\nNegative prompt: ugly\n{SETTINGS}\n", "", "ugly", {}),
    (f"Negative prompt:\n{SETTINGS}", "", "", {}),
    (SETTINGS, "", "", {}),
    (f"a red apple\nNegative prompt: ugly\n{SETTINGS}\nTemplate: a {{red|blue}} apple\n"
     "Negative Template: ugly", "a red apple", "ugly",
     {"Template": "a {red|blue} apple", "Negative Template": "ugly"}),
    (f"a red apple\nNegative prompt: ugly\n{SETTINGS}\nTemplate: {{Summer, red|Winter, blue}} "
     "apple,\n\nsecond line of template", "a red apple", "ugly",
     {"Template": "{Summer, red|Winter, blue} apple,\n\nsecond line of template"}),
    (f"a red apple\rNegative prompt: ugly\r{SETTINGS}", "a red apple", "ugly", {}),
    (f"a red apple\r\nNegative prompt: ugly\r\n{SETTINGS}", "a red apple", "ugly", {}),
    (f"a red  apple,\n  on a hill\n{SETTINGS}\nsaid by hand", "a red  apple,\n  on a hill", "",
     {"Notes": "said by hand"}),
    (f"a red apple Negative prompt: ugly {SETTINGS}", "a red apple", "ugly", {}),
    (f"a red apple, {SETTINGS}", "a red apple", "", {}),
    (f"a sign: Negative prompt: yes\n{SETTINGS}", "a sign: Negative prompt: yes", "", {}),
    (f"a red apple\n{SETTINGS}, Prompt: another, Negative prompt: other", "a red apple", "", {}),
    (f"steps: a stair\nSteps: to heaven\n{SETTINGS}", "steps: a stair\nSteps: to heaven", "", {}),
    (f'a red apple\n{SETTINGS}, Hashes: {{"vae": "63", "model": "a, b"}}, Lora: "a: 1, b",',
     "a red apple", "", {"Hashes": '{"vae": "63", "model": "a, b"}', "Lora": "a: 1, b"}),
])
def test_prompts_settings_and_what_is_added(text: str, prompt: str, negative: str,
                                            more: dict[str, str]) -> None:
    found = parse_parameters(text)
    assert (found.pop("Prompt"), found.pop("Negative prompt")) == (prompt, negative)
    assert found == {**PAIRS, **more}
    assert list(found)[-len(PAIRS):] == list(PAIRS) or more


def test_settings_need_neither_steps_nor_seed() -> None:
    text = "a red apple\nNegative prompt: ugly\nSampler: Euler a, CFG scale: 7, Size: 512x512"
    assert parse_parameters(text) == {
        "Prompt": "a red apple", "Negative prompt": "ugly", "Sampler": "Euler a",
        "CFG scale": "7", "Size": "512x512"}
    assert parse_parameters("Sampler: Euler a, Steps: 20, Seed: 5, Size: 8x8")["Sampler"] == \
        "Euler a"


@pytest.mark.parametrize("prompt", [
    "only a prompt", "a clock: late, a steps: many, seed: of an apple", "Size: large, a dog",
    "model: a ship", "", "Steps: leading to a door"])
def test_a_prompt_alone_stays_whole(prompt: str) -> None:
    assert parse_parameters(prompt) == {"Prompt": prompt, "Negative prompt": ""}


def test_values_that_are_cut_short_keep_the_rest() -> None:
    assert dict(split_pairs('a: "x, b: {"y", c: 5, words, d: "\\q", e: [1, 2]')) == {
        "a": "x, b: {", "c": "5", "d": '"\\q"', "e": "[1, 2]"}
    assert dict(split_pairs('a: {x, b: {"y": 1}, c: "open')) == {
        "a": "{x", "b": '{"y": 1}', "c": '"open'}
    assert dict(split_pairs(": 1, : 2,,")) == {}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Zl", "Zp", "Cc")), max_size=40)
PROMPTS = TEXT.map(str.strip).filter(
    lambda text: not any(name in text.lower() for name in KNOWN) and "prompt:" not in text)


@given(PROMPTS, PROMPTS, st.integers(0, 2**64), st.booleans())
def test_prompts_come_back_as_they_were_typed(prompt: str, negative: str, seed: int,
                                              added: bool) -> None:
    lines = [prompt] + [f"Negative prompt: {negative}"] * bool(negative)
    lines.append(f"Steps: 5, Seed: {seed}")
    found = parse_parameters("\n".join(lines + ["Template: x"] * added))
    assert (found["Prompt"], found["Negative prompt"]) == (prompt, negative)
    assert found["Seed"] == str(seed)


@given(st.text(st.sampled_from('ab:,"{}[]\\ \nSteps19'), max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = parse_parameters(text)
    assert all(isinstance(part, str) for pair in found.items() for part in pair)
    assert {"Prompt", "Negative prompt"} <= found.keys()

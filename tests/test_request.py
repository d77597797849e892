"""Every way a request can be wrong ends in one sentence that names its field."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import InvalidImage, InvalidRequest
from pipelines.core.options import option_fields, parse_options, written_number
from pipelines.core.request import candidate_seed, fresh_seed
from pipelines.unclip.pipeline import UnclipOptions
from tests.noise import NoiseOptions, noise_registry

REGISTRY = noise_registry()
GOOD: dict[str, Any] = {"pipeline": "noise", "prompt": "a red apple"}


def refusal(**changes: Any) -> InvalidRequest:
    """The error of a good request with changes; its sentence is checked."""
    with pytest.raises(InvalidRequest) as caught:
        REGISTRY.check({**GOOD, **changes})
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 250
    return caught.value


def test_defaults_are_filled_in() -> None:
    request = REGISTRY.check({**GOOD, "prompt": "  a red apple \n", "options": {"steps": "5"}})
    assert request.prompt == "a red apple"
    assert request.num_images == 4
    assert request.options == NoiseOptions(steps=5)
    assert REGISTRY.check(request.plain()) == request


@pytest.mark.parametrize(("field", "value"), [
    ("prompt", ""), ("prompt", " \t\n "), ("prompt", "a" * 501), ("prompt", "a" * 100_000),
    ("prompt", "a\0b"), ("prompt", None), ("prompt", 7), ("prompt", "\ud800"),
    ("prompt", "forbidden"),
    ("num_images", 0), ("num_images", -1), ("num_images", 17), ("num_images", 1e9),
    ("num_images", float("nan")), ("num_images", "many"),
    pytest.param("num_images", 10**5000, id="thousands of digits"),
    ("seed", -1), ("seed", 2**32), ("seed", 0.5), ("seed", float("inf")),
    ("pipeline", "nothing"), ("pipeline", "../noise"), ("pipeline", None),
    ("options", None), ("options", [1]), ("init_image", 5),
])
def test_wrong_fields_are_named(field: str, value: Any) -> None:
    assert refusal(**{field: value}).field == field


@pytest.mark.parametrize(("option", "value"), [
    ("steps", 0), ("steps", 10**9), ("steps", float("nan")), ("steps", 2.5), ("steps", None),
    ("contrast", float("inf")), ("contrast", float("nan")), ("contrast", "-inf"),
    ("contrast", -0.1), ("fault", "other"), ("keep", "perhaps"), ("unheard_of", 1),
])
def test_wrong_options_are_named(option: str, value: Any) -> None:
    assert refusal(options={option: value}).field == option


def test_out_of_range_says_the_range() -> None:
    message = str(refusal(options={"contrast": float("nan")}))
    assert message == "Contrast must be a number between 0 and 2, not NaN."
    assert str(refusal(num_images=17)) == (
        "Number of images must be a whole number between 1 and 16, not 17.")


@pytest.mark.parametrize(("fields", "said"), [
    ({"seed": -1}, "Seed must be a whole number between 0 and 4294967295, not -1."),
    ({"parents": ["x"]}, "Parents must be ids of kept pictures, not 'x'."),
    ({"parents": [5]}, "Parents must be ids of kept pictures, not 5."),
    ({"parents": 5}, "Parents must be ids of kept pictures, not 5."),
    ({"parents": ["a" * 32] * 9}, "Parents: 9 are too many; 8 is the most."),
    ({"options": [1]}, "Options must be an object, not [1]."),
    ({"prompt": None}, "Prompt must be text, not empty."),
    ({"init_image": 5}, "Init image must be a file, not 5."),
    ({"options": {"keep": "perhaps"}}, "Keep must be true or false, not 'perhaps'."),
])
def test_sentences_are_plain(fields: dict[str, Any], said: str) -> None:
    assert str(refusal(**fields)) == said


def test_a_title_that_is_a_sentence_stays_one() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_options(UnclipOptions, {"described": 3})
    assert str(caught.value) == "The init image shows: it must be text, not 3."


@pytest.mark.parametrize(("value", "said"), [
    (4294967295, "4294967295"), (2.0, "2"), (0.1, "0.1"), (0.00001, "0.00001"), (-0.5, "-0.5"),
    (1234567.25, "1234567.25"), (0, "0")])
def test_numbers_are_written_as_people_do(value: float, said: str) -> None:
    assert written_number(value) == said


def test_an_emptied_field_is_called_empty() -> None:
    assert str(refusal(num_images=None)).endswith("between 1 and 16, not empty.")


def test_unknown_field_and_missing_prompt() -> None:
    assert "steps" in str(refusal(steps=5))
    with pytest.raises(InvalidRequest, match=r"^Prompt is missing\.$"):
        REGISTRY.check({"pipeline": "noise"})


def test_init_image_is_checked_before_the_queue() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    request = REGISTRY.check({**GOOD, "init_image": buffer.getvalue()})
    pixels = request.init_pixels
    assert pixels is not None
    assert pixels.shape == (4, 4, 3)
    assert request.init_pixels is pixels, "decoded once, by the check"
    assert REGISTRY.check({**GOOD, "init_image": buffer.getvalue()}).init_pixels is pixels
    with pytest.raises(InvalidImage):
        REGISTRY.check({**GOOD, "init_image": b"<svg/>"})


def test_init_image_is_not_dropped_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(REGISTRY.get("noise")), "accepts_init_image", False)
    assert refusal(init_image=b"any").field == "init_image"


@given(prompt=st.text(max_size=600), num_images=st.integers() | st.floats() | st.text(max_size=5),
       seed=st.none() | st.integers() | st.floats())
def test_any_input_is_valid_or_refused(prompt: str, num_images: Any, seed: Any) -> None:
    try:
        request = REGISTRY.check({**GOOD, "prompt": prompt, "num_images": num_images, "seed": seed})
    except InvalidRequest:
        return  # its sentence is checked above
    else:
        assert 1 <= len(request.prompt) <= 500
        assert 1 <= request.num_images <= 16
        assert 0 <= request.seed < 2**32
        request.prompt.encode()


def test_seeds() -> None:
    request = REGISTRY.check({**GOOD, "num_images": 3, "seed": 2**32 - 1})
    assert request.seed == 2**32 - 1
    assert request.seeds == (2**32 - 1, 0, 1)
    assert [candidate_seed(2**32 - 1, i) for i in range(3)] == [2**32 - 1, 0, 1]
    assert len({REGISTRY.check(GOOD).seed for _ in range(8)}) > 1, "a new one where none is asked"
    assert all(0 <= fresh_seed() < 2**32 for _ in range(8))


def test_option_fields_describe_controls() -> None:
    fields = {field.name: field for field in option_fields(NoiseOptions)}
    assert (fields["steps"].kind, fields["steps"].minimum, fields["steps"].maximum) == (
        "int", 1, 10_000)
    assert fields["fault"].choices == ("none", "error", "memory", "silence")
    assert fields["keep"].kind == "bool"
    assert fields["contrast"].advanced
    assert not fields["steps"].advanced


def test_a_blank_seed_is_a_new_one() -> None:
    assert 0 <= REGISTRY.check({**GOOD, "seed": "  "}).seed < 2**32
    assert REGISTRY.check({**GOOD, "seed": " 7 "}).seed == 7

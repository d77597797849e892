"""Zero-shot classification: labels, templates, the mean of templates, probabilities, CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from pipelines import zero_shot as c
from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import decode_file


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_labels_are_typed_or_pasted() -> None:
    assert c.parse_labels("\ufeffcat, dog;human\r\n  fire   engine\n,dog") == (
        "cat", "dog", "human", "fire engine")


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "There are no labels: type two or more, with commas between them."),
    (" ,;\n", "There are no labels: type two or more, with commas between them."),
    ("cat, cat", "One label alone always has a probability of 100 %: give two or more."),
    (",".join(map(str, range(10_000))), "10,000 labels are too many: 1,000 is the most."),
    (f"cat,{'x' * 201}", f"The label '{'x' * 40}'… has more than 200 characters."),
])
def test_labels_that_cannot_be_used(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        c.parse_labels(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("data", "sentence"), [
    (b"\xff\xfe\x00", "The file labels.txt is not text in UTF-8."),
    (b"cat\0dog", "The file labels.txt is not a text file."),
    (b"x" * (2**20 + 1), "The file labels.txt is larger than 1 MB."),
])
def test_files_of_labels_that_cannot_be_used(data: bytes, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_file("labels.txt", data)
    assert str(caught.value) == sentence
    assert decode_file("labels.txt", "\ufeffpão\n".encode()) == "pão\n"


def test_templates_hold_the_label_once() -> None:
    assert c.parse_templates("") == (c.DEFAULT_TEMPLATE,)
    assert c.parse_templates("a photo of a {}\n\n{}\n{}") == ("a photo of a {}", "{}")
    for text, fault in (("a photo", "must hold {} once"), ("{} {}", "must hold {} once"),
                        ("\n".join(f"{n} {{}}" for n in range(101)), "101 templates are too many")):
        with pytest.raises(InvalidRequest, match=fault):
            c.parse_templates(text)


@pytest.mark.parametrize(("template", "label", "text"), [
    ("a picture of a {}", "dog", "a picture of a dog"),
    ("a picture of a {}", "owl", "a picture of an owl"),
    ("A {} on a table", "Apple", "An Apple on a table"),
    ("a picture of a {}", "unicorn", "a picture of a unicorn"),
    ("an extra {}", "owl", "an extra owl"),
    ("a picture of a {}", "hourglass", "a picture of an hourglass"),
    ("two {0}s and {}", "cat", "two {0}s and cat"),
])
def test_the_article_fits_the_label(template: str, label: str, text: str) -> None:
    assert c.fill_template(template, label) == text


def test_several_templates_are_averaged_and_made_unit_length() -> None:
    texts = unit((1, 0), (0, 1), (1, 0), (1, 0))  # two labels in two templates each
    directions = c.class_features(texts, 2)
    np.testing.assert_allclose(directions, unit((1, 1), (1, 0)), rtol=1e-6)
    assert c.class_texts(["cat", "ox"], ["a {}", "{}"]) == ["a cat", "cat", "an ox", "ox"]


def test_probabilities_are_the_softmax_of_scaled_similarities() -> None:
    images, labels = unit((1, 0), (1, 1)), unit((1, 0), (0, 1))
    found = c.classify(images, labels, ["x", "y"], 10.0)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-6)
    expected = np.exp(10.0) / (np.exp(10.0) + 1)
    assert found.probabilities[0, 0] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(found.probabilities[1], 0.5, rtol=1e-5)
    assert found.ranking(0) == [0, 1]
    assert found.similarities[0].tolist() == [1.0, 0.0]


def test_the_table_is_what_a_spreadsheet_reads_and_never_a_formula() -> None:
    found = c.classify(unit((1, 0), (0, 1)), unit((1, 0), (0, 1)), ["=cmd()", 'a "b", c'], 3.0)
    rows = list(csv.reader(io.StringIO(c.classification_csv(["-1.png", "ß.png"], found))))
    assert rows[0] == ["picture", "label", "probability", "'=cmd()", 'a "b", c']
    assert [row[:2] for row in rows[1:]] == [["'-1.png", "'=cmd()"], ["ß.png", 'a "b", c']]
    for row, shares in zip(rows[1:], found.probabilities, strict=True):
        np.testing.assert_allclose([float(cell) for cell in row[3:]], shares, atol=1e-6)
        assert float(row[2]) == pytest.approx(shares.max(), abs=1e-6)


def test_labels_that_differ_in_capitals_count_once() -> None:
    assert c.parse_labels("Cat, cat, dog, CAT, Straße, STRASSE") == ("Cat", "dog", "Straße")

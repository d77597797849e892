"""Classifying pictures whose labels are known by names, folders or a zip, and by each template."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from easel.ui.lab.accuracy import render_accuracy
from easel.ui.lab.labelled import MAX_ENTRIES, unpack_labelled
from easel.ui.lab.outcomes import Classified
from pipelines.accuracy import accuracy_of, known_labels, template_answers
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.images import plain_png
from pipelines.models.clip_features import Features
from pipelines.zero_shot import (
    MAX_TEMPLATES,
    MAX_TEXTS,
    Classification,
    check_templates,
    class_features,
    class_texts,
    classify,
    openai_templates,
)

LABELS = ("cat", "polar bear", "dog")


def png() -> bytes:
    return plain_png(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(("name", "label"), [
    ("cat.png", 0), ("CAT.PNG", 0), ("cat-3.jpg", 0), ("cat_0007.png", 0), ("cat (2).webp", 0),
    ("cat12.png", 0), ("polar bear 5.png", 1), ("polar  bear.png", 1), ("dog/x.png", 2),
    ("a/b/Dog/1.png", 2), ("cat/dog.png", 2), ("cats.png", -1), ("a cat.png", -1), ("7.png", -1),
    ("x/y.png", -1),
])
def test_a_file_names_its_label(name: str, label: int) -> None:
    assert known_labels([PurePosixPath(name)], LABELS).tolist() == [label]


def spread(*best: int) -> Classification:
    shares = np.full((len(best), 3), 0.1, np.float32)
    shares[np.arange(len(best)), best] = 0.8
    return Classification(LABELS, 1.0, shares, shares)


def test_right_and_wrong_are_counted_by_label() -> None:
    found = accuracy_of(spread(0, 0, 2, 1, 0), np.array([0, 0, 2, 2, -1]))
    assert found is not None
    assert (found.right, found.total) == (3, 4)
    assert found.confusion.tolist() == [[2, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert found.described()["confusion"] == found.confusion.tolist()
    # Nothing to be right about: a label alone, or none.
    assert accuracy_of(spread(0, 1), np.array([0, 0])) is None
    assert accuracy_of(spread(0, 1), np.array([-1, -1])) is None


def test_what_has_no_label_of_its_own_is_named() -> None:
    """Else two of two would be right, beside a third picture that is plainly wrong."""
    clip = Features("a", "b", 32, 10.0, np.zeros((0, 0)), np.zeros((0, 0)))
    found, known = spread(0, 0, 1), np.array([0, -1, 1])
    names = ("cat.png", "<dog>.png", "human.png")
    outcome = Classified(clip, names, tuple(map(Path, names)), found, known=known,
                         accuracy=accuracy_of(found, known))
    said = render_accuracy(outcome)
    assert "Right: 2 of 2" in said
    assert "want of a label of their own here: 1 of 3 (&lt;dog&gt;.png)" in said
    known = np.array([0, 0, 1])
    assert "want of" not in render_accuracy(replace(outcome, known=known,
                                                    accuracy=accuracy_of(found, known)))


def test_the_five_likeliest_count_what_lies_before_ones_own() -> None:
    labels = tuple("abcdefgh")
    shares = np.arange(8, 0, -1, dtype=np.float32)[None].repeat(3, 0) / 36
    found = Classification(labels, 1.0, shares, shares)
    counted = accuracy_of(found, np.array([4, 5, 0]))
    assert counted is not None
    assert (counted.right, counted.among_first) == (1, 2)


def test_each_template_answers_as_if_it_were_alone() -> None:
    rng = np.random.default_rng(3)
    texts = rng.normal(size=(3 * 4, 8)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    images = rng.normal(size=(5, 8)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    templates = [f"{n} {{}}" for n in range(4)]
    answers = template_answers(images, texts, LABELS, templates, 20.0)
    assert [answer.template for answer in answers] == templates
    for number, answer in enumerate(answers):
        alone = classify(images, class_features(texts[number::4], 3), LABELS, 20.0)
        assert answer.best.tolist() == alone.probabilities.argmax(1).tolist()
        np.testing.assert_allclose(answer.shares, alone.probabilities.max(1), rtol=1e-5)


def test_openais_templates_are_eighty_that_can_be_used() -> None:
    found = openai_templates()
    assert len(set(found)) == 80 <= MAX_TEMPLATES
    assert check_templates(found) == found
    assert class_texts(["owl"], found)[0] == "a bad photo of an owl."
    with pytest.raises(InvalidRequest, match=r"1,000 labels in 80 templates are too many texts: "
                                             f"{MAX_TEXTS:,} is the most"):
        class_texts([str(n) for n in range(1000)], found)


def packed(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def unpack(tmp_path: Path, data: bytes) -> tuple[list[Path], tuple[str, ...]]:
    (tmp_path / "given.zip").write_bytes(data)
    return unpack_labelled(tmp_path / "given.zip", tmp_path / "out")


def test_folders_of_a_zip_are_labels(tmp_path: Path) -> None:
    files, labels = unpack(tmp_path, packed(**{
        "pets/dog/1.png": png(), "pets/dog/2.PNG": png(), "pets/cat, small/1.png": png(),
        "pets/readme.txt": b"x", "pets/dog/.DS_Store": b"x", "__MACOSX/dog/1.png": b"x",
        "top.png": png()}))
    assert labels == ("cat small", "dog")
    assert [file.name for file in files] == ["dog-0001.png", "dog-0002.png", "cat small-0003.png"]
    assert known_labels(files, labels).tolist() == [1, 1, 0]
    assert all(file.read_bytes() == png() for file in files)


def test_a_full_disk_is_no_fault_of_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            ) -> None:
    (tmp_path / "given.zip").write_bytes(packed(**{"a/1.png": png(), "b/1.png": png()}))

    def write_bytes(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(EaselError, match=r"could not be written: no space left on device\.$"):
        unpack_labelled(tmp_path / "given.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("data", "says"), [
    (b"PK", "no zip file, or it is damaged"),
    (packed(**{"a/1.png": b"x" * 99})[:-40], "no zip file, or it is damaged"),
    (packed(**{"1.png": b"x"}), "no pictures in folders"),
    (packed(**{"a/1.txt": b"x"}), "no pictures in folders"),
    (packed(**{"a/1.png": b"x", "a/2.png": b"x"}), "One label alone"),
    (packed(**{"../../a/1.png": b"x"}), "leads elsewhere"),
    (packed(**{f"{'é' * 120}/1.png": b"x"}), "too long a name"),
    (packed(**{f"a/{n}.txt": b"" for n in range(MAX_ENTRIES + 1)}), "2,001 files; 2,000 is"),
    (packed(**{f"a/{n}.png": b"" for n in range(1001)}), "1,001 pictures are too many"),
], ids=range(9))
def test_a_zip_that_tells_nothing_is_refused_in_a_sentence(tmp_path: Path, data: bytes,
                                                           says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        unpack(tmp_path, data)
    assert str(caught.value).endswith(".")
    assert [path.name for path in tmp_path.rglob("*")] == ["given.zip"], "nothing is left behind"

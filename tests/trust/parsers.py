"""Readers of what strangers write, each as one function of bytes: it reads, or says why not.

Each is tried with generated inputs by ``tests/trust/test_fuzz.py`` and, guided by coverage and for
as long as one likes, by ``python -m tests.trust.fuzz``.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from easel.compare.bundle import FACTS, read_zip, write_zip
from easel.compare.prompt_lists import read_prompts
from easel.compare.sweeps import (
    MAX_PROMPTS,
    MAX_VALUES,
    expand_matrix,
    fill_wildcards,
    parse_axis,
    sweep_options,
)
from easel.compare.wildcards import MAX_WORD_CHARS, read_words, suggestions, wildcard_words
from easel.compare.word_lists import MAX_WORDS, read_lists, write_lists
from easel.history.file_texts import read_texts
from easel.history.recall import MAX_LEFT, MAX_LEFT_CHARS, MAX_OPTIONS, recall
from easel.presets import read_presets, write_presets
from easel.ui.parts.prompt_note import prompt_reader
from pipelines.core.errors import EaselError, PausedRunError, WeightsError
from pipelines.core.images import load_image
from pipelines.core.png_chunks import SIGNATURE, without_faults
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT
from pipelines.core.texts import fault_of
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.tensor_files import held, memory_bytes, read_safetensors
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.tokenizer import Vocabulary
from pipelines.saved_run import SavedRun
from pipelines.weighted_prompts import MAX_WEIGHT, parse_prompts, ranking_texts
from tests.noise import noise_registry
from tests.trust.publishers import (
    A1111,
    DREAM,
    FACTS_TEXT,
    GRAPH,
    INVOKE,
    LAYOUT,
    OWN,
    SD,
    SHARDS,
    SMALL,
    TOML,
    chunk,
    png,
)
from tests.watched_sketch import WatchedSketch


@dataclass(frozen=True)
class Parser:
    """A reader.

    Attributes:
        read: fails with anything but an AssertionError where the reader does, with that where what
            it says is not as it should be.
        seeds: what its publishers write.
        words: pieces of that.
    """

    read: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]

    def inputs(self) -> SearchStrategy[bytes]:
        """Sequences of the pieces, and what its publishers write with some of it changed."""
        piece = st.one_of(st.sampled_from(self.words), ODD, st.binary(max_size=8),
                          st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")))
        return st.one_of(st.lists(piece, max_size=24).map(b"".join),
                         st.builds(_changed, st.sampled_from(self.seeds),
                                   st.lists(st.tuples(st.floats(0, 1), st.integers(0, 16), piece),
                                            max_size=8)))


# Where thousands of files are written and removed without a disk, on Linux.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# What readers trip over, whatever they read.
ODD = st.sampled_from([
    b"", b"\0", b"\xff", b"\xed\xa0\xbd", b"\\ud83d", b"\\u0000", b"\n", b"\r", b'"', b"\\", b"'",
    b"{", b"}", b"[", b"]", b":", b",", b"|", b"/", b"..", b"~root", b"~nobody/x", b"-1", b"0",
    b"1e999", b"NaN", b"Infinity", b"9" * 400, b"9" * 5000, b"2147483648", b"18446744073709551616",
    b"null", b"true", b"[" * 500, b'{"a":' * 500, "𝕏e\u0301\u202e\u2028".encode(),
    b"<script>", b"A" * 600])


def _changed(data: bytes, changes: Sequence[tuple[float, int, bytes]]) -> bytes:
    """Data with pieces in place of some of its bytes."""
    for place, length, piece in changes:
        start = int(place * len(data))
        data = data[:start] + piece + data[start + length:]
    return data


def _is_said(error: EaselError) -> None:
    """A refusal is one sentence that every file and page can hold."""
    sentence = str(error)
    assert sentence.endswith("."), sentence
    assert fault_of(sentence) is None, sentence
    assert len(sentence) < 2000, len(sentence)


def _is_text(*values: Any) -> None:
    """What was read can be kept and shown: JSON, UTF-8, no NUL."""
    text = json.dumps(values, allow_nan=False, ensure_ascii=False)
    assert fault_of(text.replace("\\\\", "").replace("\\u0000", "\0")) is None


# Pictures and what they say ------------------------------------------------------------------


def _recalled(data: bytes) -> None:
    try:
        found = recall(data)
    except EaselError as error:
        _is_said(error)
        return
    _is_text(asdict(found))
    assert len(found.prompt) <= MAX_PROMPT_CHARS >= len(found.negative_prompt)
    assert found.seed is None or 0 <= found.seed < SEED_COUNT
    assert found.num_images is None or 1 <= found.num_images <= 16
    assert len(found.options) <= MAX_OPTIONS
    assert len(found.other) <= MAX_LEFT
    assert all(len(text) <= MAX_LEFT_CHARS for pair in found.other for text in pair)


def _texts_of(*names: str) -> Callable[[bytes], None]:
    """A reader of one text, in each of the chunks where a tool puts it."""
    def read(data: bytes) -> None:
        for name in names:
            _recalled(png(**{name: data}))
    return read


def _picture(data: bytes) -> None:
    _recalled(data)
    try:
        _is_text(read_texts(data))
    except EaselError as error:
        _is_said(error)
    without_faults(data)
    try:
        pixels = load_image(data)
        assert pixels.dtype == "uint8"
        assert pixels.ndim == 3
    except EaselError as error:
        _is_said(error)


# Comparisons, models, runs ---------------------------------------------------------------------


def _bundle(data: bytes) -> None:
    if not data.startswith(b"PK"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(FACTS, data)
        data = buffer.getvalue()
    try:
        found = read_zip(data)
    except EaselError as error:
        _is_said(error)
        return
    _is_text(found.facts.model_dump(mode="json"))
    assert read_zip(write_zip(found)) == found


def _catalogue(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        path = Path(folder) / "catalogue.toml"
        path.write_bytes(data)
        catalogue = Catalogue((), models_dir=Path(folder) / "models")
        catalogue.add_user_entries(path)
        for fault in catalogue.faults:
            _is_said(WeightsError(fault))
        for entry in catalogue:
            catalogue.folder(catalogue.get(entry.id))
        saved = path.with_name("saved.toml")
        catalogue.save(saved)
        again = Catalogue((), models_dir=Path(folder) / "models")
        again.add_user_entries(saved)
        assert again.faults == ()
        assert [each.model_dump() for each in again] == [each.model_dump() for each in catalogue]


def _presets(data: bytes) -> None:
    for registry in (None, noise_registry()):
        try:
            found = read_presets(data, registry)
        except EaselError as error:
            _is_said(error)
            continue
        _is_text({name: {each: [dict(preset.options), preset.best_of]
                         for each, preset in named.items()} for name, named in found.items()})
        if registry is not None:
            assert read_presets(write_presets(found).encode(), registry) == found


def _prompt_lists(data: bytes) -> None:
    for name in ("prompts.txt", "prompts.csv"):
        try:
            lines = read_prompts(name, data)
        except EaselError as error:
            _is_said(error)
            continue
        assert 1 <= len(lines) <= MAX_PROMPTS
        _is_text([asdict(line) for line in lines])


def _word_lists(data: bytes) -> None:
    try:
        words = read_words("words.txt", data)
    except EaselError as error:
        _is_said(error)
        return
    _is_text(words)
    assert 1 <= len(set(words)) == len(words)
    assert all(0 < len(word) <= MAX_WORD_CHARS and word == word.strip() for word in words)
    for seed in range(3):
        filled = fill_wildcards("the __words__ cat", {"words": words}, seed)
        assert filled.removeprefix("the ").removesuffix(" cat") in words


def _own_lists(data: bytes) -> None:
    try:
        lists = read_lists(data)
    except EaselError as error:
        _is_said(error)
        return
    _is_text(lists)
    assert read_lists(write_lists(lists).encode()) == lists
    for words in lists.values():
        assert 1 <= len(set(words)) == len(words) <= MAX_WORDS
        assert all(0 < len(word) <= MAX_WORD_CHARS and word == word.strip() for word in words)


def _tensors(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        for name in ("model.safetensors", "model.safetensors.index.json"):
            path = Path(folder) / name
            path.write_bytes(data)
            whole = path.with_name("model.safetensors")
            try:
                read = read_safetensors(whole, "user/model")
                assert {each.name: each.shape for each in held(whole)} == {
                    name: tuple(tensor.shape) for name, tensor in read.items()}
            except EaselError as error:
                _is_said(error)
            assert memory_bytes(whole, torch.float32) >= 0
            path.unlink()
    try:
        found = SavedRun.decode(data)
        assert SavedRun.decode(found.encode(found.paused, found.saved_s)).step == found.step
    except PausedRunError as error:
        _is_said(error)


# What people type ------------------------------------------------------------------------------


@cache
def _reader() -> Any:
    return prompt_reader(_vocabulary(), None)


def _prompt(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")  # as arguments and names of files come
    try:
        for part in parse_prompts(text):
            assert abs(part.weight) <= MAX_WEIGHT
            assert not math.isnan(part.stop)
            assert part.text
    except EaselError as error:
        _is_said(error)
        if fault_of(text) is not None:
            return
    assert ranking_texts(text)
    text = text[:MAX_PROMPT_CHARS]
    for word in _reader().read(text).words:
        assert text[word.start:word.end] == word.text
    suggestions(text)
    assert _vocabulary()([text]).shape[0] == 1


@cache
def _vocabulary() -> Vocabulary:
    return load_vocabulary()


def _sweep(data: bytes) -> None:
    text, pipeline = data.decode("utf-8", "replace"), WatchedSketch()
    try:
        prompts = expand_matrix(text)
        assert 1 <= len(prompts) <= MAX_PROMPTS
        for prompt in prompts[:4]:
            fill_wildcards(prompt, wildcard_words(), 1)
    except EaselError as error:
        _is_said(error)
    for name in ("", "unknown", *sweep_options(pipeline)):
        try:
            axis = parse_axis(name, text, pipeline, text)
            assert 1 <= len(axis.values) <= max(MAX_VALUES, MAX_PROMPTS)
            assert len(axis.labels()) == len(axis.values)
            assert all(isinstance(value, str | int | float | None) for value in axis.values)
        except EaselError as error:
            _is_said(error)


def _quoted(*data: bytes) -> tuple[bytes, ...]:
    """The words of some JSON, with what stands round them."""
    found: dict[bytes, None] = {}
    for each in data:
        for part in each.replace(b", ", b",|").replace(b": ", b":|").split(b"|"):
            found[part] = None
    return tuple(found)


PARSERS = {
    "a1111": Parser(_texts_of("parameters"), (
        A1111, A1111.replace(b"\n", b" "), b"only a prompt"), (
        b"\nNegative prompt: ", b"Steps: 20, ", b"Seed: 5, ", b"Size: 8x8, ", b"Model: ",
        b"CFG scale: ", b'Lora: "a: 1, b\\"', b"Hashes: {\"a\": [1]}, ", b"\nTemplate: ",
        b", ", b": ")),
    "invokeai": Parser(_texts_of("invokeai_metadata", "sd_metadata", "Dream"), (
        INVOKE, SD, DREAM), (
        *_quoted(INVOKE, SD), b'" -s ', b"-S 5", b" [", b"] ", b'"', b" -")),
    "comfyui": Parser(_texts_of("prompt", "workflow"), (GRAPH, LAYOUT), _quoted(GRAPH, LAYOUT)),
    "easel": Parser(_texts_of("easel"), (OWN,), _quoted(OWN)),
    "pictures": Parser(_picture, (
        png(parameters=A1111), png(prompt=GRAPH, workflow=LAYOUT)[:-12], png(easel=OWN)), (
        SIGNATURE, chunk(b"tEXt", b"a\0b"), chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b" * 99)),
        chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"c")), chunk(b"iTXt", b"a\0\0\0"),
        chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0\x0e\1\2\0\4\0\0\0{}\0\0\0\0\0\0"),
        chunk(b"tRNS", b"\0"), chunk(b"IEND", b""), b"RIFF\x24\0\0\0WEBPVP8 ",
        b"\xff\xd8\xff\xe0", b"\xff\xe1\0\x10Exif\0\0")),
    "bundles": Parser(_bundle, (FACTS_TEXT,), (
        *_quoted(FACTS_TEXT), b"PK\3\4", b"PK\1\2", b"PK\5\6" + bytes(18))),
    "catalogue": Parser(_catalogue, (TOML,), (
        *TOML.split(), b"\n[[models]]\n", b"\n[[models.files]]\n", b"\n", b" = ",
        b'path = "~nobody/x"\n',
        b'"\\u0000"', b'"\\n"', b"inf", b"nan", b"1979-05-27T07:32:00Z",
        b'files_of = "mine/dream"\n',
        b'parts = {a = "mine/local"}\n')),
    "tensors": Parser(_tensors, (SMALL, SHARDS), (
        *_quoted(SMALL[8:-17], SHARDS), b"F8_E4M3", b"BF16", b"I64", bytes(8), b"\xff" * 8,
        struct.pack("<Q", 2) + b"{}", b"-1", b"[0, 0]")),
    "prompts": Parser(_prompt, (b"a red apple:2 | a worm:-0.5:0.3 | a clock at 10:30",
                                "uma maçã vermelha ao lado de dois cães".encode()), (
        b"|", b":", b"1.5", b":2", b" : -1", b"inf", b"nan", b"1e5", b"a cat", b"16:9", b"a ",
        b"dogg", b"__", b"__animal__", b"'", b"-")),
    "presets": Parser(_presets, (
        b'[noise.mine]\nbest_of = 8\n\n[noise.mine.options]\nsteps = 2\n', b'noise = {}\n'), (
        b"[noise.mine]\n", b"[noise.", b".options]\n", b"steps = 2\n", b"best_of = 8\n", b"nan",
        b'"""', b"'''", b"#", b" = ", b"a.", b"a." * 999, b"\n", b"1979-05-27T07:32:00Z",
        b'"\\u007f"')),
    "own word lists": Parser(_own_lists, (
        b'mood = ["quiet", "# calm"]\n', 'uva = [\n  "maçã  verde",\n]\n'.encode()), (
        b"mood = [", b'"calm",\n', b"]\n", b'"""', b"#", b"a.", b"[mood]\n", b"1", b"[[]]",
        b'"\\u007f\\u0000\\u2028"', b'"' + b"x" * MAX_WORD_CHARS + b'"')),
    "prompt lists": Parser(_prompt_lists, (
        b"prompt,steps\na cat,2\n\"a, dog\",3\n", b"# remark\na cat\na dog\n"), (
        b"prompt", b",", b'"', b'""', b"\n", b"\r", b"a cat", b"#", b";")),
    "word lists": Parser(_word_lists, (
        b"# moods\nquiet\n a  calm\tday \n", "\ufeffmaçã vermelha\r\nuva".encode()), (
        b"#", b"\n", b"\r", b"\t", b"__words__", b"{a|b}", "\ufeff\u2028\x85\xa0".encode(), b"calm",
        "calm".encode("utf-16"), "café".encode("latin-1"), b"x" * MAX_WORD_CHARS)),
    "sweeps": Parser(_sweep, (b"a {red|blue} __animal__ at {night|}", b"1..5", b"0.5..2/4",
                              b"1;2;0,5", b"soft, none"), (
        b"{", b"|", b"}", b"__animal__", b"__", b"..", b"/", b"...", b",", b";", b"1", b"-2.5",
        b"true", b"1e11", b"sim")),
}

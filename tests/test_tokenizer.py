"""The tokenizer: open_clip's protocol, unknown words, and that captions fit."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from pipelines.models.checkpoints.vocabulary import (
    TOKENIZER_DIR,
    load_vocabulary,
    save_vocabulary,
)
from pipelines.models.tokenizer import (
    CONTEXT_LENGTH,
    END_ID,
    PAD_ID,
    START_ID,
    UNK_ID,
    Vocabulary,
)
from pipelines.world.captions import caption
from pipelines.world.concepts import concepts_by_id, load_concepts
from pipelines.world.hard_negatives import hard_negative
from pipelines.world.scenes import SceneSampler
from training.build_tokenizer import build


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary()


@pytest.fixture(scope="module")
def captions() -> list[str]:
    concepts, rng = concepts_by_id(), random.Random(0)
    sampler = SceneSampler(load_concepts(), "test-vocabulary")
    texts = []
    for seed in range(1500):
        scene = sampler.sample(seed)
        texts.append(caption(scene, concepts, rng, "en" if seed % 3 else "pt"))
        texts.append(caption(hard_negative(scene, rng, concepts), concepts, rng))
    return texts


def test_rows_are_start_ids_end_and_padding(vocabulary: Vocabulary) -> None:
    rows = vocabulary(["two dogs", ""])
    assert rows.dtype == torch.int64
    assert rows.shape == (2, CONTEXT_LENGTH)
    ids = vocabulary.encode("two dogs")
    assert rows[0].tolist() == [START_ID, *ids, END_ID] + [PAD_ID] * (CONTEXT_LENGTH - 2 - len(ids))
    assert rows[1].tolist() == [START_ID, END_ID] + [PAD_ID] * (CONTEXT_LENGTH - 2)
    assert vocabulary("two dogs", context_length=8).tolist() == [rows[0, :8].tolist()]


def test_a_long_text_keeps_its_end_and_says_so(vocabulary: Vocabulary) -> None:
    row = vocabulary("dog " * 60)[0].tolist()
    assert row[0] == START_ID
    assert row[-1] == END_ID
    assert PAD_ID not in row
    assert vocabulary.truncated("dog " * 31)
    assert not vocabulary.truncated("dog " * 30)


def test_case_accents_and_normal_form(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode("A RED Car") == vocabulary.encode("a red car")
    assert (
        vocabulary.encode("cafe\u0301")
        == vocabulary.encode("caf\u00e9")
        != vocabulary.encode("cafe")
    )
    assert vocabulary.encode("jack-o’-lantern") == vocabulary.encode("jack-o'-lantern")


def test_typed_special_tokens_are_plain_text(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("<end> <pad> <start> <unk>")
    assert not {PAD_ID, START_ID, END_ID, UNK_ID} & set(ids)


def test_names_are_few_tokens_and_plurals_share_them(vocabulary: Vocabulary) -> None:
    assert vocabulary.vocab_size <= 3072
    dog, dogs = vocabulary.encode("dog"), vocabulary.encode("dogs")
    assert len(dog) == 1
    assert dogs[:1] == dog
    long = [c.name for c in load_concepts() if len(vocabulary.encode(c.name)) > len(c.name.split())]
    assert len(long) < 15, long


def test_captions_fit_and_hold_no_unknown_word(vocabulary: Vocabulary, captions: list[str]) -> None:
    too_long = [text for text in captions if vocabulary.truncated(text)]
    assert len(too_long) < 0.005 * len(captions), too_long[:3]
    later = build(Tokenizer.from_file(str(TOKENIZER_DIR / "tokenizer.json"))).words
    for text in captions:
        assert set(vocabulary.unknown_words(text)) <= later - vocabulary.words, text
        assert UNK_ID not in vocabulary.encode(text), text
    known = sum(not vocabulary.unknown_words(text) for text in captions)
    assert known > 0.85 * len(captions)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("A photo of a Red APPLE, please!", []),
        ("a quokka next to a Quokka and a zyzzyva", ["quokka", "zyzzyva"]),
        ("3 dogs, 4k, 1920x1080 ... (best) — 😀", ["best"]),
        ("uma maçã vermelha à esquerda de um cachorro", []),
        ("a jack-o’-lantern and a teddy-bear", []),
        ("a star-spangled dog", ["star-spangled"]),
        ("", []),
    ],
)
def test_unknown_words(vocabulary: Vocabulary, text: str, unknown: list[str]) -> None:
    assert vocabulary.unknown_words(text) == unknown


def test_survives_pickling_and_saving(vocabulary: Vocabulary, tmp_path: Path) -> None:
    text = ["a photo of two geese", "um cão azul"]
    copy = pickle.loads(pickle.dumps(vocabulary))
    save_vocabulary(vocabulary, tmp_path)
    loaded = load_vocabulary(tmp_path)
    assert torch.equal(copy(text), vocabulary(text))
    assert torch.equal(loaded(text), vocabulary(text))
    assert copy.words == loaded.words == vocabulary.words
    (tmp_path / "words.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"words\.txt"):
        load_vocabulary(tmp_path)


def test_words_txt_holds_words_of_the_grammar(vocabulary: Vocabulary) -> None:
    # The models that ship were trained before the grammar had the words that it has more.
    now = build(Tokenizer.from_file(str(TOKENIZER_DIR / "tokenizer.json"))).words
    assert vocabulary.words <= now
    assert len(vocabulary.words) > 0.9 * len(now)


def test_new_ids_give_a_token_to_every_singular_word() -> None:
    fresh = build()
    assert fresh.vocab_size <= 3072
    for name in ("dog", "strawberries", "scissors", "maçã", "azuis", "watercolor", "three"):
        assert len(fresh.encode(name)) == 1, name

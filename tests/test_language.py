"""The page in two languages: every word has a Portuguese one, and each visitor gets their own."""

from __future__ import annotations

import ast
import importlib
import pickle
import pkgutil
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any

import gradio as gr
import pytest
from gradio.components.api_component import Api
from gradio_client import Client
from gradio_client.exceptions import AppError

from easel.ui.generate.examples import EXAMPLES, world_sampler
from easel.ui.generate.lesson import RANKING
from easel.ui.inside.sources import CITED
from easel.ui.models.wishes import WISHES
from easel.ui.parts import page_words
from easel.ui.parts.panel import Panel, seconds
from easel.ui.parts.samples import SAMPLES
from easel.ui.parts.tiles import loss_curves
from easel.words import english as english_words
from easel.words import strings
from easel.words.language import (
    PORTUGUESE,
    Catalogue,
    bare,
    counted,
    figure,
    has_places,
    language_of,
    load_catalogue,
    say,
    speaking,
    written,
)
from pipelines.core.errors import Busy, EaselError, InvalidRequest, Paused
from pipelines.core.metadata import read_png
from pipelines.core.options import option_fields
from pipelines.core.sentences import Sentence, joined
from pipelines.models.checkpoints.catalogue import Catalogue as Models
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.registry import GENERATORS
from tests.page_texts import (
    PACKAGES,
    ROOT,
    flat,
    template_of,
    texts_of_pipelines,
    unmade_sentences,
    user_sentences,
)
from tests.served import App


@pytest.fixture(scope="module")
def portuguese() -> Catalogue:
    return load_catalogue(PORTUGUESE)


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


def words_of_strings() -> set[str]:
    constants = {name: value for name, value in vars(strings).items() if name.isupper()}
    return {text for text in flat(constants) if text}


def test_no_two_modules_of_words_have_a_name_in_common() -> None:
    """``strings`` would have one of the two texts alone."""
    modules = [importlib.import_module(module.name) for module in
               pkgutil.iter_modules(english_words.__path__, f"{english_words.__name__}.")]
    names = [name for module in modules for name in vars(module) if name.isupper()]
    assert len(modules) > 3
    assert sorted(names) == sorted(set(names))
    assert set(names) == {name for name in vars(strings) if name.isupper()}


def lessons() -> set[str]:
    """Titles and texts; the papers keep their own."""
    return {text for lesson in (*(kind.lesson for kind in GENERATORS), RANKING)
            for text in lesson[:2]}


def examples() -> set[str]:
    return {*EXAMPLES, *(prompt for prompts in EXAMPLES.values() for prompt in prompts)}


def samples() -> set[str]:
    """Prompts of the pictures that are there before a visitor's own."""
    return {read_png(path.read_bytes())["easel"]["prompt"] for path in SAMPLES.glob("*.png")}


def wishes() -> set[str]:
    return {text for wish in WISHES for text in (wish.title, wish.gives)}


def sources() -> set[str]:
    """Where Easel's own models come from."""
    return {entry.source for entry in Models.load() if entry.id.startswith(EMBEDDED)}


@pytest.mark.parametrize("texts", [
    pytest.param(words_of_strings, id="words"), pytest.param(texts_of_pipelines, id="options"),
    pytest.param(lessons, id="lessons"), pytest.param(examples, id="examples"),
    pytest.param(samples, id="samples"), pytest.param(sources, id="sources"),
    pytest.param(wishes, id="wishes")])
def test_every_word_has_a_portuguese_one(texts: Any, portuguese: Catalogue) -> None:
    assert sorted(texts() - portuguese.texts.keys()) == []


def test_every_sentence_of_an_error_has_a_portuguese_one(portuguese: Catalogue) -> None:
    known = portuguese.texts.keys() | portuguese.templates.keys()
    # Some are put together from parts.
    missing = {text: where for text, where in user_sentences().items()
               if text not in known and not (has_places(text) and bare(text) in known)
               and not any(bare(text) in english for english in portuguese.templates)}
    assert missing == {}


def test_sentences_are_found_wherever_their_templates_stand(tmp_path: Path) -> None:
    """In constants, here and where they are imported from, in branches, in what is returned."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.py").write_text(
        'ONE, TWO = "One {}.", "Two."\nMORE = {1: "Three.", 2: "Four."}\n'
        'class Own(EaselError):\n    pass\n'
        'def f():\n    return Own("Five.")\n')
    (folder / "b.py").write_text(
        "from folder import a\nfrom folder.a import ONE, MORE as OTHERS\n"
        "def f(x):\n    said = Sentence(ONE, 1)\n    Sentence(OTHERS[x])\n"
        '    raise Own(a.TWO if x else "Six.")\n'
        'def g():\n    raise KeyError("Seven.")\n')
    assert user_sentences(tmp_path, ["folder"]).keys() == {
        "One {}.", "Two.", "Three.", "Four.", "Five.", "Six."}


def test_no_error_is_told_a_text_with_its_values_in_it() -> None:
    assert unmade_sentences() == []


def places(text: str) -> list[tuple[str, str]]:
    """The places for values of a text with their formats, numbered by what goes there."""
    found = [(name, form or "") for _, name, form, _ in Formatter().parse(text)
             if name is not None]
    return sorted((name or str(index), form) for index, (name, form) in enumerate(found))


def test_places_for_values_are_the_same(portuguese: Catalogue) -> None:
    for english, said in portuguese.texts.items():
        assert said.strip(), english
        assert english[0] == said[0] or not english[0].isspace(), english
        try:
            expected = places(english)
        except ValueError:
            expected = []
        if all(name.isdigit() and form.isascii() for name, form in expected):
            assert places(said) == expected, english
        else:  # braces that stand for themselves, as in {red|blue}
            assert (said.count("{"), said.count("}")) == (english.count("{"), english.count("}"))


def test_no_entry_is_left_of_a_text_that_is_gone(portuguese: Catalogue) -> None:
    paths = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    found = {text for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if (text := template_of(node))}
    code = "\n".join(found) + (ROOT / "assets" / "catalogue.toml").read_text("utf-8") \
        + (ROOT / "easel" / "ui" / "page.js").read_text("utf-8")
    # Some sentences are put together from parts, all of which have to be there.
    found |= samples() | {bare(text) for text in found if has_places(text)}
    unused = [english for english in portuguese.texts if english not in found and not all(
        part.strip() in code for part in re.split(r"\{.*?\}|[:;,.()]", english))]
    assert unused == []


@pytest.mark.parametrize(("header", "language"), [
    ("pt-BR,pt;q=0.9,en;q=0.8", "pt"), ("pt", "pt"), ("PT-pt;q=1", "pt"), ("en-US,pt;q=0.9", "en"),
    ("fr, pt", "en"), ("", "en"), ("ptx", "en"), ("*", "en")])
def test_the_first_choice_of_the_browser_counts(header: str, language: str) -> None:
    assert language_of({"Accept-Language": header}) == language


def test_the_curves_of_a_run_are_named_in_the_language() -> None:
    panel = Panel("vqgan_clip", "VQGAN+CLIP", "a cat", 1,
                  losses={"loss": [(0, 1.0), (1, 0.5)], "guide score": [(0, 0.1), (1, 0.2)]})
    with speaking("pt"):
        drawn = loss_curves(panel)
    assert "perda <b>0,500" in drawn
    assert "pontuação do guia <b>0,200" in drawn
    assert "passo 1" in drawn


def test_words_follow_the_language_that_is_spoken() -> None:
    assert strings.STOP == "Stop"
    with speaking("pt"):
        assert strings.STOP == "Parar"
        assert strings.MODELS_ACTS["load"] == "Carregar"
        assert strings.MODELS_HEADS[0] == "Modelo"
        assert strings.NO_CHOICE["tie"] == "Você declarou empate."
        with speaking("en"):
            assert strings.STOP == "Stop"
    assert strings.STOP == "Stop"


def test_finished_sentences_are_said_with_their_values() -> None:
    with speaking("pt"):
        assert say(Sentence("{} must be a number between {} and {}, not {}.", "Temperature", "0.1",
                            "2", "9")) == "Temperatura deve ser um número entre 0.1 e 2, não 9."
        empty = InvalidRequest("The prompt is empty: say what to draw.")
        assert say(str(InvalidRequest("Pane {}: {}", "B", empty))) == \
            "Painel B: O prompt está vazio: diga o que desenhar."
        loading = [Sentence("Loading the {}", "DALL·E transformer"), Sentence("{}", "30 MB"),
                   Sentence("took {:.1f} s last time", 0.42)]
        assert say(joined(", ", loading, end=".")) == \
            "Carregando: transformer do DALL·E, 30 MB, da última vez levou 0,4 s."
        assert say(joined(", ", loading[:1], end=".")) == "Carregando: transformer do DALL·E."
        assert say("{0} {red|blue} {") == "{0} {red|blue} {"
        assert say("Nobody has ever said this.") == "Nobody has ever said this."
    assert say("The picture is an empty file.") == "The picture is an empty file."


def test_finished_texts_are_not_taken_apart(portuguese: Catalogue) -> None:
    for text in ("Picture 3", "The prompt has 600 characters; 500 is the most.", "one of those",
                 "Stop it or not"):
        assert portuguese.say(text) == text
    assert portuguese.say(Sentence("The prompt has {:,} characters; {} is the most.", 6000, 500)) \
        == "O prompt tem 6.000 caracteres; 500 é o máximo."


def test_sentences_keep_what_they_are_made_of() -> None:
    sentence = Sentence("The hub at {} failed with status {:,}.", "example.org", 1500)
    assert sentence == "The hub at example.org failed with status 1,500."
    error = InvalidRequest("{}: {!r}", Busy(sentence), "a", field="prompt")
    for each in (sentence, str(sentence), pickle.loads(pickle.dumps(sentence)),
                 pickle.loads(pickle.dumps(error)).sentence.values[0]):
        assert isinstance(each, Sentence)
        assert (each.template, each.values) == (sentence.template, ("example.org", 1500))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.field) == (f"{sentence}: 'a'", "prompt")
    paused = pickle.loads(pickle.dumps(Paused("a" * 32, 3, 9)))
    assert (str(paused), paused.run_id) == ("The run is paused at step 3 of 9.", "a" * 32)
    assert str(EaselError('Braces {"as": they} are.')) == 'Braces {"as": they} are.'


def test_numbers_have_the_commas_of_the_language() -> None:
    assert (figure(1234.5, ",.1f"), written("5.9 MB"), seconds(2.04)) == \
        ("1,234.5", "5.9 MB", "2.0 s")
    with speaking("pt"):
        assert (figure(1234.5, ",.1f"), written("5.9 MB"), seconds(2.04)) == \
            ("1.234,5", "5,9 MB", "2,0 s")


@pytest.mark.parametrize(("language", "said"), [
    ("en", ["0 pictures", "1 picture", "2 pictures", "1,000 pictures"]),
    (PORTUGUESE, ["0 imagens", "1 imagem", "2 imagens", "1.000 imagens"])])
def test_one_of_a_thing_is_said_as_one(language: str, said: list[str]) -> None:
    with speaking(language):
        assert [counted(count, strings.PICTURES) for count in (0, 1, 2, 1000)] == said


def test_the_status_of_a_run_is_said() -> None:
    panel = Panel("dalle", "DALL·E", "a dog", 1, phase="running", step=4, total=8, elapsed_s=2.0)
    panel.message = "Ranking."
    assert panel.status() == "Step 4 of 8 · 2.0 s · about 2.0 s left · Ranking"
    with speaking("pt"):
        assert panel.status() == "Passo 4 de 8 · 2,0 s · faltam cerca de 2,0 s · Ordenando"


def test_the_embedded_models_know_the_words_of_the_portuguese_prompts(
        portuguese: Catalogue) -> None:
    vocabulary = load_vocabulary()
    prompts = [strings.FIRST_PROMPT, *(p for prompts in EXAMPLES.values() for p in prompts)]
    for prompt in prompts:
        said = portuguese.say(prompt)
        assert said != prompt
        assert vocabulary.unknown_words(said) == [], said


def test_surprises_are_drawn_in_the_language_of_the_visitor() -> None:
    surprise = world_sampler()
    assert surprise is not None
    with speaking("pt"):
        said = " ".join(f" {surprise()} " for _ in range(12))
    assert any(word in said for word in (" um ", " uma ", " de ", " no ", " na "))
    assert not any(word in said for word in (" the ", " with ", " of "))


class Texts(HTMLParser):
    """The texts of some HTML that a person reads or hears, in their order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._tag = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.found += [value for name, value in attrs if value and name in (
            "aria-label", "title", "placeholder", "alt", "data-prompt")]

    def handle_data(self, data: str) -> None:
        if any(char.isalpha() for char in data) and self._tag != "style":
            self.found.append(data.strip())


def tables_of(app: App) -> dict[str, dict[str, str]]:
    """What the browser gets, by language."""
    i18n = app.page.i18n_instance
    assert i18n is not None
    return i18n.translations_dict


def said_anyhow(text: str, portuguese: Catalogue, app: App) -> bool:
    """Whether a text may be the same in both languages."""
    own = {"A", "B", "C", "D", "API", "Ctrl", "Enter", "Esc", "Shift"}
    for pipeline in app.playground.registry:  # of the tests alone
        own |= {pipeline.title, pipeline.summary, *pipeline.lesson}
        for option in option_fields(pipeline.Options):
            own |= {option.title, option.description, *map(str, option.choices)}
    names = ("Sketch", "Etching",
             *(entry.title for entry in Models.load() if entry.repository))
    return (portuguese.texts.get(text) == text or text in own or text.startswith((*names, "[{"))
            or not any(char.isalpha() for char in text))


def test_everything_on_the_page_is_translated(app: App, portuguese: Catalogue) -> None:
    """Of the page as it is served: labels, hints, choices and blocks of HTML."""
    left = set()
    papers = {lesson.paper for lesson in (*(p.lesson for p in app.playground.registry), RANKING)}
    for block in app.page.blocks.values():
        for_programs = isinstance(block, gr.File) and not block.visible
        if isinstance(block, Api) or for_programs:
            continue
        texts = [getattr(block, name, None) for name in page_words.LABELS]
        texts += [block.value] if isinstance(block, page_words.SAYING) else []
        texts += [label for label, _ in getattr(block, "choices", None) or []]
        left |= {text for text in texts if isinstance(text, str) and "__i18n__" not in text
                 and not said_anyhow(text, portuguese, app)}
        if isinstance(block, gr.HTML) and isinstance(block.value, str) \
                and "__i18n__" not in block.value:
            left |= {text for text in Texts(block.value).found
                     if not said_anyhow(text, portuguese, app)}
    tables = tables_of(app)
    for key, english in tables["en"].items():
        if "<" in english:
            pairs = zip(Texts(english).found, Texts(tables["pt"][key]).found, strict=True)
            left |= {text for text, said in pairs if text == said and text not in papers
                     and not CITED.fullmatch(text) and not said_anyhow(text, portuguese, app)}
    of_samples = {text for text in left for prompt in samples() if text.endswith(prompt)}
    assert sorted(left - of_samples) == []  # the pictures were drawn from the English ones


def test_both_tables_of_the_browser_have_the_same_keys(app: App) -> None:
    tables = tables_of(app)
    assert tables["en"].keys() == {key for key in tables["pt"] if key.startswith("easel_")}
    assert set(strings.SCRIPT_WORDS) <= tables["pt"].keys()
    script = (ROOT / "easel" / "ui" / "page.js").read_text("utf-8")
    assert all(f'say("{word}"' in script for word in strings.SCRIPT_WORDS)


def test_errors_of_the_server_are_in_the_language_of_the_request(app: App) -> None:
    def refusal(headers: dict[str, str]) -> str:
        client = Client(app.url, verbose=False, headers=headers, analytics_enabled=False)
        with pytest.raises(AppError) as refused:
            client.predict([], ["a dog"], api_name="/rerank")
        return str(refused.value)

    assert refusal({}) == "There are no pictures to put in order."
    assert refusal({"accept-language": "pt-BR,en;q=0.5"}) == "Não há imagens para pôr em ordem."

"""The page in headless Chromium, as people with a Portuguese and an English browser see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.served import App
from tests.test_browser import CHROMIUM, DESKTOP, PATIENCE_MS, PHONE, browser
from tests.windows import Windows

__all__ = ["browser"]
ENGLISH = ("Generate", "Compare", "Rerank", "Lab", "Inside", "History", "Models")
PORTUGUESE = ("Gerar", "Comparar", "Reordenar", "Lab", "Dentro", "Histórico", "Modelos")
Opener = Callable[..., Page]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


@pytest.fixture
def open_page(app: App, windows: Windows) -> Iterator[Opener]:
    contexts = []

    def open_in(locale: str, size: tuple[int, int] = DESKTOP) -> Page:
        page = windows.new_page(size, locale=locale)
        contexts.append(page.context)
        page.set_default_timeout(PATIENCE_MS)
        page.goto(app.url)
        page.wait_for_selector("#generate:not(:disabled)")
        return page

    yield open_in
    for context in contexts:
        windows.take_back(context, [app.url])


def tabs_of(page: Page) -> list[str]:
    tabs = page.locator("#tabs > .tab-wrapper .tab-container button[role=tab]")
    return [text.strip() for text in tabs.all_text_contents()]


def go_to(page: Page, tab: str) -> None:
    page.locator("#tabs").get_by_role("tab", name=tab, exact=True).first.click()


def test_a_portuguese_browser_gets_a_portuguese_page(open_page: Opener) -> None:
    page = open_page("pt-PT")  # Gradio's own words are European then
    assert tuple(tabs_of(page)) == PORTUGUESE
    assert page.evaluate("document.documentElement.lang") == "pt-BR"
    expect(page.locator("#masthead")).to_contain_text("Escreva um prompt.")
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^uma maçã vermelha"))
    expect(page.locator("#prompt textarea")).to_have_attribute(
        "placeholder", "O que deve aparecer na imagem?")
    expect(page.locator("#generate")).to_have_text("Gerar")
    expect(page.locator("#stop")).to_have_text("Parar")
    expect(page.locator("#settings")).to_contain_text("Semente e opções")
    expect(page.locator("#examples")).to_contain_text("um guarda-chuva roxo")
    page.locator("#examples .chip").first.click()
    expect(page.locator("#prompt textarea")).to_have_value(
        "uma maçã vermelha ao lado de um carro azul")


def test_a_run_is_reported_in_portuguese(open_page: Opener) -> None:
    page = open_page("pt-BR")
    page.locator("#generate").click()
    status = page.locator("#stage .panel.done .status").first
    expect(status).to_have_text(re.compile(r"^\d+ imagens? em \d+,\d s$"))
    expect(page.locator("#stage .seed").first).to_contain_text("semente")
    expect(page.locator("#generate")).to_be_enabled()
    page.locator("#stage button.frame:visible").first.click()
    facts = page.locator("dialog.large")
    expect(facts).to_contain_text("Salvar PNG")
    expect(facts).to_contain_text("Gerador")
    expect(facts.locator(".close")).to_have_attribute("aria-label", "Fechar")
    page.keyboard.press("Escape")
    page.locator("#prompt textarea").fill("")
    page.locator("#generate").click()
    expect(page.locator("#generate-alert .alert")).to_have_text(
        "O prompt está vazio: diga o que desenhar.")


def test_what_other_tabs_say_later_is_portuguese_too(open_page: Opener) -> None:
    page = open_page("pt-BR")
    go_to(page, "Comparar")
    expect(page.locator("#compare-forms")).to_contain_text("Adicionar um painel")
    page.locator("#compare-run").click()
    expect(page.locator("#vote")).to_contain_text("Qual é a melhor?")
    page.locator("#vote-0").click()
    expect(page.locator("#outcome")).to_contain_text("Você escolheu A")
    go_to(page, "Histórico")
    expect(page.locator("#kept")).to_contain_text("Exportar como zip")
    go_to(page, "Modelos")
    expect(page.locator("#models")).to_contain_text("Desenha qualquer coisa, o menor")
    page.locator("#models-all .label-wrap").click()
    expect(page.locator("#models-table")).to_contain_text("Checkpoints públicos")
    expect(page.locator("#models-table")).to_contain_text("não baixado")


def test_every_other_browser_gets_the_english_page(open_page: Opener) -> None:
    page = open_page("fr-FR")  # Gradio's own words are French then
    assert tuple(tabs_of(page)) == ENGLISH
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^a red apple"))
    expect(page.locator("#settings")).to_contain_text("Seed and options")
    assert "easel_" not in page.locator("body").inner_text()
    page.locator("#generate").click()
    expect(page.locator("#stage .panel.done .status").first).to_have_text(
        re.compile(r"^\d+ pictures? in \d+\.\d s$"))


def test_long_words_fit_on_a_phone(open_page: Opener) -> None:
    page = open_page("pt-BR", PHONE)
    for tab in PORTUGUESE:
        go_to(page, tab)
        page.wait_for_timeout(200)
        page.evaluate("""() => document.querySelectorAll("button.label-wrap:not(.open)")
            .forEach((fold) => fold.checkVisibility() && fold.click())""")
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], tab
        cut = page.evaluate("""() => [...document.querySelectorAll("button, label span, h2, th")]
            .filter((e) => e.checkVisibility() && getComputedStyle(e).overflow !== "visible"
                && e.clientWidth > 8  // less is for screen readers alone
                && e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent.trim())""")
        assert cut == [], tab


PHRASES = """() => [...document.querySelectorAll(".upload .wrap")]
  .filter((e) => e.checkVisibility())
  .map((e) => [...e.childNodes, ...[...e.children].flatMap((each) => [...each.childNodes])]
    .filter((node) => node.nodeType === 3 && node.textContent.trim()).map((node) => {
      const range = document.createRange();
      range.selectNodeContents(node);
      return new Set([...range.getClientRects()].map((each) => Math.round(each.top))).size;
    }))"""


def test_longer_words_fit_where_the_page_is_narrow(open_page: Opener) -> None:
    page = open_page("pt-BR", (1024, 768))
    page.locator("#generate").click()
    expect(page.locator("#stage .panel.done .status").first).to_have_text(re.compile("^\\d+ imag"))
    expect(page.locator("#generate")).to_be_enabled()
    go_to(page, "Comparar")
    page.locator("#compare-settings button.label-wrap").click()
    expect(page.locator("#compare-settings .upload .wrap").first).to_be_visible()
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 800})
        lines = page.evaluate(PHRASES)
        assert {size for phrases in lines for size in phrases} == {1}, f"broken at {width} px"
    go_to(page, "Histórico")
    page.locator("#history-gallery button.frame").first.click()
    expect(page.locator("#rating")).to_be_visible()
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 800})
        tops = page.locator("#rating label").evaluate_all(
            "(all) => all.map((each) => Math.round(each.getBoundingClientRect().top))")
        assert len(tops) == 6
        assert len(set(tops)) == 1, width
    for width in range(764, 1040, 12):  # the stars are never parted, whatever "none" does
        page.set_viewport_size({"width": width, "height": 800})
        _, *stars = page.locator("#rating label").evaluate_all(
            "(all) => all.map((each) => Math.round(each.getBoundingClientRect().top))")
        assert len(set(stars)) == 1, width
    page.locator("#history-back").click()
    page.locator("#history-filters .label-wrap").click()
    expect(page.locator("#history-filters .form > *").last).to_be_visible()
    for width in range(764, 1040, 12):  # no filter has a row of its own
        page.set_viewport_size({"width": width, "height": 800})
        tops = page.locator("#history-filters .form > *").evaluate_all(
            "(all) => all.map((each) => Math.round(each.getBoundingClientRect().top))")
        assert len(tops) == 5
        assert all(tops.count(top) > 1 for top in tops), (width, tops)

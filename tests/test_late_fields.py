"""What is typed as soon as a fold or tab shows its fields stays there."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.served import App
from tests.test_browser import app, browser, pytestmark

# Types into fields within the first frame in which they are shown, and says what they hold later.
TYPE_AT_ONCE = """async ([opener, selectors]) => {
    const breathe = () => new Promise((go) => {
        const channel = new MessageChannel();
        channel.port1.onmessage = go;
        channel.port2.postMessage(0);
    });
    const shown = (field) => field?.checkVisibility({visibilityProperty: true});
    document.querySelector(opener).click();
    const fields = [];
    for (const selector of selectors) {
        let field = null;
        const end = Date.now() + 90_000;  // or what is not there would be looked for without end
        while (!shown(field = document.querySelector(selector))) {
            if (Date.now() > end) return [`${selector} is not shown`];
            await breathe();
        }
        field.value = "7";
        field.dispatchEvent(new Event("input", {bubbles: true}));
        fields.push(field);
    }
    for (let frame = 0; frame < 12; frame++) await new Promise(requestAnimationFrame);
    return fields.map((field) => field.isConnected ? field.value : "gone");
}"""

__all__ = ["app", "browser", "pytestmark"]


FOLDS_AND_TABS = {
    "#settings .label-wrap": ["#best-of input", "#settings input[type=number]:not(#best-of *)"],
    "#tabs [role=tab]:nth-child(2)": ["#compare-prompt textarea"],
    "#sweep .label-wrap": ["#sweep-values-across textarea, #sweep-values-across input"],
    "#compare-settings .label-wrap": ["#compare-seed textarea, #compare-seed input"],
    "#tabs > .tab-wrapper [role=tab][data-tab-id=history]": [
        "#search-kept textarea, #search-kept input"],
}
# Opens a tab and says after how many frames its fields are seen.
FRAMES = """async ([opener, selector]) => {
    document.querySelector(opener).click();
    let frames = 0;
    const shown = (field) => field?.checkVisibility({visibilityProperty: true});
    while (!shown(document.querySelector(selector)) && frames < 600) {
        await new Promise(requestAnimationFrame);
        frames += 1;
    }
    return frames;
}"""
TABS = {"compare": "#compare-run", "rerank": "#rerank-run", "lab": "#lab-classify",
        "inside": "#inside-ask", "history": "#kept", "models": "#models"}


def test_what_is_typed_at_once_is_kept(app: App, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    for opener, fields in FOLDS_AND_TABS.items():
        page.locator(opener).first.wait_for()
        assert page.evaluate(TYPE_AT_ONCE, [opener, fields]) == ["7"] * len(fields), opener
    page.close()


def test_every_tab_is_shown_within_a_few_frames(app: App, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(app.url)
    page.wait_for_selector("#generate:not(:disabled)")
    for tab, selector in TABS.items():
        opener = f"#tabs > .tab-wrapper [role=tab][data-tab-id={tab}]"
        assert page.evaluate(FRAMES, [opener, selector]) < 45, selector
    page.close()

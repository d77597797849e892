"""Windows of one browser, which tests borrow one after the other: new, but for Gradio's scripts.

A new window asks for a hundred files before it shows anything, and compiles what of them are
scripts. One that was used has them, as a visitor's has who comes for a second time. An empty tab
stays in each, since Chromium takes as long to open a window as the page takes half of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError

# All that a page can keep in a browser, and the cookie that makes it a visitor's.
KEPT = "all"
REAL_TIME = "() => Function.prototype.toString.call(Date).includes('[native code]')"


class Windows:
    """The windows of a browser.

    Args:
        browser: in which they are.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, list[BrowserContext]] = defaultdict(list)
        self._lent: dict[BrowserContext, tuple[str, Page]] = {}  # locale and empty tab

    def new_window(self, locale: str = "en-US") -> BrowserContext:
        """A window that nobody else has, of no visitor so far, with an empty tab.

        Args:
            locale: the browser's language.
        """
        if self._free[locale]:
            return self._free[locale].pop()
        window = self._browser.new_context(locale=locale, viewport={"width": 1440, "height": 900})
        self._lent[window] = locale, window.new_page()
        return window

    def new_page(self, size: tuple[int, int], scheme: str = "light", locale: str = "en-US",
                 ) -> Page:
        """An empty page in a window of its own.

        Args:
            size: width and height in CSS pixels.
            scheme: light or dark.
            locale: the browser's language.
        """
        page = self.new_window(locale).new_page()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        return page

    def take_back(self, window: BrowserContext, addresses: Iterable[str]) -> None:
        """Close what a window shows, and itself too where it cannot be as if new.

        Args:
            window: from ``new_window``, or a page's from ``new_page``.
            addresses: of all that was shown in it.
        """
        locale, empty = self._lent[window]
        try:
            pages = [page for page in window.pages if page is not empty]
            # A time that was set lasts for as long as the window.
            real = bool(pages) and all(page.evaluate(REAL_TIME) for page in pages)
            if not real or empty.is_closed() or empty.url != "about:blank":
                raise PlaywrightError("it would not be as new")
            for page in pages:
                page.close()
            session = window.new_cdp_session(empty)
            for address in addresses:
                origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
                session.send("Storage.clearDataForOrigin",
                             {"origin": origin, "storageTypes": KEPT})
            session.detach()
            window.clear_cookies()
            window.clear_permissions()
        except PlaywrightError:
            del self._lent[window]
            window.close()
        else:
            self._free[locale].append(window)

    def close_lent(self) -> None:
        """Close all windows of the browser but those that are free."""
        free = [window for windows in self._free.values() for window in windows]
        for window in self._browser.contexts:
            if window not in free:
                self._lent.pop(window, None)
                window.close()

"""Windows of one browser, which tests borrow one after the other: new, but for Gradio's scripts.

A new window asks for a hundred files before it shows anything, and compiles what of them are
scripts. One that was used has them, as a visitor's has who comes for a second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError

Kind = tuple[tuple[int, int], str]  # width and height in CSS pixels, light or dark
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
        self._free: dict[Kind, list[BrowserContext]] = defaultdict(list)

    def new_page(self, size: tuple[int, int], scheme: str) -> Page:
        """An empty page in a window that nobody else has, of no visitor so far."""
        free = self._free[size, scheme]
        if free:
            return free.pop().new_page()
        return self._browser.new_context(viewport={"width": size[0], "height": size[1]},
                                         color_scheme=scheme).new_page()  # type: ignore[arg-type]

    def take_back(self, page: Page, size: tuple[int, int], scheme: str,
                  addresses: Iterable[str]) -> None:
        """Close a page, and its window too where it cannot be as if new.

        Args:
            page: from ``new_page``, with its size and scheme.
            addresses: of all that was shown in its window.
        """
        window = page.context
        try:
            if not page.evaluate(REAL_TIME):  # which lasts for as long as the window
                raise PlaywrightError("its time is not the real one")
            session = window.new_cdp_session(page)
            others = [each for each in window.pages if each is not page]
            for each in others:
                each.close()
            page.goto("about:blank")  # writes nothing any more
            for address in addresses:
                origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
                session.send("Storage.clearDataForOrigin",
                             {"origin": origin, "storageTypes": KEPT})
            window.clear_cookies()
            window.clear_permissions()
            page.close()
        except PlaywrightError:
            window.close()
        else:
            self._free[size, scheme].append(window)

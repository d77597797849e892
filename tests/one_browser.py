"""One Chromium for all modules that drive one, as long as no other module comes between them.

Starting Playwright and Chromium takes more than a second of a core. While it is open, Playwright's
loop is the one of the main thread, in which other tests want to run their own.
"""

from __future__ import annotations

from typing import Any

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE_MS = 90_000  # a busy machine is slow, not wrong


class OneBrowser:
    """Chromium, started when it is first asked for and again after it was closed."""

    def __init__(self) -> None:
        self._playwright: Any = None
        self._browser: Any = None
        self._windows: Any = None

    def browser(self, executable: str | None) -> Any:
        """It, a ``playwright.sync_api.Browser``; expectations wait as on a busy machine.

        Args:
            executable: path of Chromium.
        """
        if self._browser is None or not self._browser.is_connected():
            from playwright.sync_api import expect, sync_playwright

            self.close()
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(executable_path=executable,
                                                             args=ARGUMENTS)
            expect.set_options(timeout=PATIENCE_MS)
        return self._browser

    def windows(self) -> Any:
        """Its windows, a ``tests.windows.Windows``; the browser must have been asked for."""
        if self._windows is None:
            from tests.windows import Windows

            self._windows = Windows(self._browser)
        return self._windows

    def close_windows(self) -> None:
        """Close what a module has left open."""
        if self._browser is not None and self._browser.is_connected():
            self.windows().close_lent()

    def close(self) -> None:
        """End it, if it runs, and Playwright's loop with it."""
        if self._playwright is not None:
            from playwright.sync_api import expect

            expect.set_options(timeout=5_000)  # Playwright's own
            if self._browser is not None and self._browser.is_connected():
                self._browser.close()
            self._playwright.stop()
            self._playwright = self._browser = self._windows = None

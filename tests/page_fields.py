"""Filling fields of the page as a person does, who sees whether what was typed is there."""

from __future__ import annotations

from playwright.sync_api import Locator


def fill_and_keep(field: Locator, value: str) -> None:
    """Type into a field of a fold that has just opened and may still put its first values in."""
    for _ in range(10):
        field.fill(value)
        field.blur()
        field.page.wait_for_timeout(500)
        if field.input_value() == value:
            return
    raise AssertionError(f"the page does not keep {value!r}")

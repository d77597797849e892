"""The licences of weights that Easel knows by their SPDX identifiers."""

from __future__ import annotations

UNSTATED = "NOASSERTION"  # SPDX's word for "the authors do not say"
KNOWN = frozenset({
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0",
    "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "GPL-3.0-only",
    "GPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later", "LGPL-3.0-only", "MPL-2.0",
    UNSTATED})
OTHER = "LicenseRef-"  # SPDX's way to name any other licence


def known_licence(licence: str) -> str:
    """The licence, where it is an SPDX identifier that can be shown as it stands.

    Raises:
        ValueError: it is not known, so that nobody could say what the weights may be used for.
    """
    reference = licence.removeprefix(OTHER)
    is_reference = reference != licence and reference.replace("-", "").replace(".", "").isalnum()
    if licence in KNOWN or (is_reference and licence.isascii()):
        return licence
    raise ValueError(f"{licence[:40]!r} is not a licence that Easel knows: give an SPDX "
                     f"identifier such as MIT, {OTHER}NAME for another one, or {UNSTATED}")


def licence_words(licence: str) -> str:
    """A licence as people read it."""
    return "not stated" if licence == UNSTATED else licence.removeprefix(OTHER)

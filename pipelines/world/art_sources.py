"""The freely licensed art that the world's sheets are copied from, and how each source draws.

Sources are archives as the package registries serve them; each is checked against its SHA-256, so
that the same sheets come out of them. Their licences are in ``assets/world/NOTICE.md``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.world.concepts import Concept

ART_PATH = Path(__file__).with_name("art.toml")
SVG_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '


@dataclass(frozen=True)
class Archive:
    """One archive of a registry: its file name, the SHA-256 of the file, and what it holds."""

    file: str
    sha256: str
    package: str


ARCHIVES = {
    "twemoji": Archive(
        "twemoji-svg-15.0.0.tgz",
        "1d2907557a422c7c4e3feca50ef915c39da1db3d76b4a4d7e73fb59bce4403c3",
        "npm @twemoji/svg 15.0.0"),
    "fluent": Archive(
        "fluentui-emoji-1.3.0.tgz",
        "ec892e607e854859b812c7d827801756adc19955b0ef56d4ae8afcddd19492c5",
        "npm fluentui-emoji 1.3.0"),
    "noto": Archive(
        "iconify-json-noto-1.2.9.tgz",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "npm @iconify-json/noto 1.2.9"),
    "fluent3d": Archive(
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "npm @lobehub/fluent-emoji-3d 1.1.0"),
    "blob": Archive(
        "iconify-json-noto-v1-1.2.5.tgz",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "npm @iconify-json/noto-v1 1.2.5"),
    "emojione": Archive(
        "iconify-json-emojione-1.2.3.tgz",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "npm @iconify-json/emojione 1.2.3"),
    "fxemoji": Archive(
        "iconify-json-fxemoji-1.2.2.tgz",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "npm @iconify-json/fxemoji 1.2.2"),
    "clipart": Archive(
        "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
        "Debian openclipart-svg 1:0.18+dfsg-19"),
    "photo": Archive(
        "tuxpaint-stamps-default_2022.06.04-1_all.deb",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "Debian tuxpaint-stamps-default 2022.06.04-1"),
}


def unpack(archives: Path, target: Path, keys: list[str]) -> None:
    """Unpack the archives of some sources, each into a folder of ``target`` with its key as name.

    Args:
        archives: the folder that holds the files.
        target: where to; what is there already is not unpacked again.
        keys: of ``ARCHIVES``.

    Raises:
        FileNotFoundError: an archive is missing.
        ValueError: an archive is not the one whose SHA-256 is known.
    """
    for key in keys:
        known, folder = ARCHIVES[key], target / key
        if folder.exists():
            continue
        path = archives / known.file
        if hashlib.sha256(path.read_bytes()).hexdigest() != known.sha256:
            raise ValueError(f"{known.file} is not that of {known.package}: another SHA-256")
        folder.mkdir(parents=True)
        if path.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", str(path), str(folder)], check=True)
        else:
            with tarfile.open(path) as file:
                file.extractall(folder, filter="data")


def rasterised(svg: str, size_px: int) -> Image.Image:
    """Rasterise an SVG document to an RGBA image of ``size_px`` squared."""
    import resvg_py

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def sized(svg: str) -> str:
    """An SVG document whose size is that of its view box, which it gets where it has none.

    Drawings of Open Clip Art give their size in points or not at all, which the rasteriser refuses.
    """
    found = re.search(r"<svg\b[^>]*>", svg, re.S)
    if found is None:
        raise ValueError("there is no svg element")
    tag = found.group(0)
    sides = []
    for name in ("width", "height"):
        side = re.search(rf'(?<![\w:-]){name}\s*=\s*"([\d.]+)\s*(pt|mm)?', tag)
        unit = {"pt": 1.25, "mm": 3.543307}.get(side.group(2) or "", 1.0) if side else 1.0
        sides.append(float(side.group(1)) * unit if side else 0.0)
    new = re.sub(r'(?<![\w:-])(width|height)\s*=\s*"[^"]*"', "", tag)
    box = re.search(r'viewBox\s*=\s*"([^"]*)"', tag)
    if box is None:
        new = new.replace("<svg", f'<svg viewBox="0 0 {sides[0]} {sides[1]}"', 1)
    new = new.replace("<svg", '<svg width="512" height="512"', 1)
    return svg.replace(tag, new, 1)


class IconSet:
    """A set of SVG icons in Iconify's JSON: bodies by name, aliases, and a view box."""

    def __init__(self, folder: Path) -> None:
        self.data: dict[str, Any] = json.loads((folder / "package" / "icons.json").read_text())
        chars = folder / "package" / "chars.json"
        known: dict[str, str] = json.loads(chars.read_text()) if chars.exists() else {}
        self.by_hex = {key.replace("-fe0f", ""): name for key, name in known.items()}

    def svg(self, name: str) -> str | None:
        """The icon as a document, or None where the set has none of this name."""
        icon = self.data["icons"].get(name)
        if icon is None:
            alias = self.data.get("aliases", {}).get(name)
            icon = self.data["icons"].get(alias["parent"]) if alias else None
        if icon is None:
            return None
        width = icon.get("width", self.data.get("width", 16))
        height = icon.get("height", self.data.get("height", 16))
        return f'{SVG_HEAD}viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


def chosen_art() -> dict[str, dict[str, Any]]:
    """``art.toml``: what was chosen by eye, by source and concept id."""
    with ART_PATH.open("rb") as file:
        return tomllib.load(file)


def emoji_file(folder: Path, hexcode: str, suffix: str) -> Path | None:
    """The file of an emoji: names keep or drop the variation selector."""
    for path in folder.glob(f"{hexcode.split('-')[0]}*{suffix}"):
        if path.stem.replace("-fe0f", "") == hexcode:
            return path
    return None


def with_tone(hexcode: str, tone: str) -> str:
    """The sequence of a person in a skin tone: the modifier follows the person."""
    first, *rest = hexcode.split("-")
    return "-".join([first, tone, *rest])


def recoloured(svg: str, colours: Mapping[str, str]) -> str:
    """The document with some of its colours, given as #rrggbb in any case, replaced."""
    return re.sub(r"#[0-9a-fA-F]{6}\b",
                  lambda found: colours.get(found.group(0).lower(), found.group(0)), svg)


def fx_names(concept: Concept, noto_name: str, aliases: Mapping[str, str]) -> list[str]:
    """Names under which Mozilla's set may have a concept."""
    return [aliases[concept.id]] if concept.id in aliases else [noto_name.replace("-", "")]

"""The text ``parameters`` of AUTOMATIC1111's web UI, read: prompt, negative prompt, settings.

The prompt may have several lines, then come "Negative prompt: …", one line of settings, and lines
that extensions add, such as "Template: …". Some tools leave parts of it out, or all line ends.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/infotext_utils.py`` and
``modules/processing.py`` (``create_infotext``); adieyal/sd-dynamic-prompts,
``sd_dynamic_prompts/pnginfo_saver.py`` (lines after the settings).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

PROMPT, NEGATIVE = "Prompt", "Negative prompt"
# Names that stand in such a line, whoever wrote it; a line with three of them is one of settings.
KNOWN = frozenset({
    "steps", "sampler", "schedule type", "cfg scale", "seed", "face restoration", "size",
    "model hash", "model", "vae", "vae hash", "denoising strength", "clip skip", "ensd", "version",
    "hires upscale", "hires steps", "hires upscaler", "variation seed", "lora hashes", "hashes",
    "eta", "rng", "guidance", "created date", "civitai resources"})
ENOUGH = 3
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# A line after the settings that begins something new; others continue what is above them.
_NAMED_LINE = re.compile(r"([A-Z][A-Za-z0-9 _-]{1,40}): ?(.*)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_JSON = json.JSONDecoder()


def parse_parameters(text: str) -> dict[str, str]:
    """Read a ``parameters`` text, ours or another tool's.

    Args:
        text: from anyone; the time is linear in its length.

    Returns:
        "Prompt" and "Negative prompt", then the settings by their names, and what lines after them
        say; all as text. Prompts are as they were typed, but for blanks around them.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n")
    place = next((n for n in reversed(range(len(lines))) if _is_settings(lines[n])), None)
    if place is None:
        return _prompts(lines)
    before, settings = lines[:place], lines[place]
    inline = _start_of_settings(settings)
    if inline:  # a tool that left line ends out
        before, settings = [*before, settings[:inline].rstrip(" ,")], settings[inline:]
    pairs = {**dict(_named_lines(lines[place + 1:])), **dict(split_pairs(settings))}
    return {**_prompts(before, bool(inline)), **{name: value for name, value in pairs.items()
                                                 if name not in (PROMPT, NEGATIVE)}}


def split_pairs(line: str) -> Iterator[tuple[str, str]]:
    """Names and values of a line of settings, ``name: value, name: "quoted", name: {JSON}``.

    Words without a value are passed over.
    """
    start, quotes, objects = 0, True, True
    while (colon := line.find(":", start)) >= 0:
        name = line[max(start, line.rfind(",", start, colon) + 1):colon].strip()
        first = colon + 1
        while line[first:first + 1] == " ":
            first += 1
        end, value = -1, ""
        if quotes and line[first:first + 1] == '"':
            match = _QUOTED.match(line, first)
            if match is None:
                quotes = False  # not closed, so none after it is either
            else:
                end, value = match.end(), _unquoted(match[0])
        elif objects and line[first:first + 1] in ("{", "["):
            try:
                _, end = _JSON.raw_decode(line, first)
                value = line[first:end]
            except (ValueError, RecursionError):
                objects = False  # one try, so that the time stays linear
        comma = line.find(",", max(end, first))
        comma = len(line) if comma < 0 else comma
        if end < 0:
            value = line[first:comma].strip()
        if name:
            yield name, value
        start = comma + 1


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text


def _is_settings(line: str) -> bool:
    """Whether a line is one of settings: steps or a seed as numbers, or three known names."""
    if ":" not in line:
        return False
    pairs = {name.lower(): value for name, value in split_pairs(line)}
    if any(_NUMBER.fullmatch(pairs.get(name, "")) for name in ("steps", "seed")):
        return True
    if _start_of_settings(line):
        return True
    return len(KNOWN & pairs.keys()) >= ENOUGH


def _start_of_settings(line: str) -> int:
    """Where settings begin within a line that begins with other words; 0 where they do not."""
    place = line.rfind("Steps: ")
    if (place <= 0 or not line[place + 7:place + 8].isdigit() or line[place - 1] not in " ,."
            or line.partition(":")[0].strip().lower() in KNOWN):
        return 0
    names = {name.lower() for name, _ in split_pairs(line[place:])}
    return place if len(KNOWN & names) >= ENOUGH else 0


def _prompts(lines: list[str], one_line: bool = False) -> dict[str, str]:
    """Prompt and negative prompt of the lines above the settings, or of all in one line."""
    mark = f"{NEGATIVE}:"
    place = next((n for n, line in enumerate(lines) if line.lstrip().startswith(mark)), None)
    if one_line and place is None:
        prompt, _, negative = "\n".join(lines).partition(f" {mark}")
        return {PROMPT: prompt.strip(), NEGATIVE: negative.strip()}
    if place is None:
        return {PROMPT: "\n".join(lines).strip(), NEGATIVE: ""}
    negative = [lines[place].lstrip().removeprefix(mark), *lines[place + 1:]]
    return {PROMPT: "\n".join(lines[:place]).strip(), NEGATIVE: "\n".join(negative).strip()}


def _named_lines(lines: list[str]) -> Iterator[tuple[str, str]]:
    """What the lines after the settings say, by the name with which each begins."""
    name, said = "", list[str]()
    for line in lines:
        if (match := _NAMED_LINE.fullmatch(line)) is not None:
            if name:
                yield name, "\n".join(said).strip()
            name, said = match[1], [match[2]]
        elif name:
            said.append(line)
        elif line.strip():
            name, said = "Notes", [line]
    if name:
        yield name, "\n".join(said).strip()

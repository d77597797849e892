"""The page of a bundle: one file without scripts, fonts or anything else from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

Titles = Mapping[str, Mapping[str, str]]  # of options by their names, by generator
# Nothing may be loaded but the pictures beside the page and the style in it.
POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1d1c19; --paper: #faf9f6; --muted: #6d685f;
  --line: #e4e1d9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f2f0eb; --paper: #141311; --muted: #a9a498; --line: #3d3a35; } }
body { margin: 0 auto; max-width: 1440px; padding: 20px; font: 15px/1.45 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 16px; margin: 0 0 6px; }
p { margin: 0 0 14px; } main + p { margin-top: 28px; }
.muted, dt, figcaption { color: var(--muted); font-size: 13px; }
main { display: grid; gap: 28px; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); }
section { border-top: 1px solid var(--line); padding-top: 12px; min-width: 0; }
.given { display: flex; flex-wrap: wrap; gap: 8px; } .given img { width: auto; height: 96px; }
figure { margin: 0 0 12px; } img { display: block; width: 100%; border-radius: 4px; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; margin: 0; font-size: 13px; }
dd { margin: 0; overflow-wrap: anywhere; } .chosen h2::after { content: " ✓"; }
""".strip()


def render_index(facts: Mapping[str, Any], titles: Titles | None = None) -> str:
    """The page.

    Args:
        facts: ``BundleFacts`` as JSON; every text of it is escaped here.
        titles: what people call the options; one without a title has its name.
    """
    panes = "".join(_pane(index, pane, facts.get("vote") == index,
                          (titles or {}).get(pane["pipeline"], {}))
                    for index, pane in enumerate(facts["panes"]))
    inputs = "".join(f'<img src="{escape(each["file"])}" alt="{escape(each["name"])}">'
                     for each in facts.get("inputs", ()))
    given = f'<p class="given">{inputs}</p>' if inputs else ""
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    prompt = escape(facts["prompt"])
    return ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{prompt}</title><style>{STYLE}</style></head><body>"
            f"<h1>{prompt}</h1><p class=\"muted\">{escape(_summary(facts))}</p>{given}"
            f"<main>{panes}</main><p class=\"muted\">Made by Easel: {escape(versions)}.</p>"
            "</body></html>\n")


def _summary(facts: Mapping[str, Any]) -> str:
    parts = [f"A comparison of {len(facts['panes'])} panes"]
    if facts.get("budget_s"):
        parts.append(f"{facts['budget_s']:g} device seconds for each")
    vote = facts.get("vote")
    if vote is not None:
        said = {"tie": "a tie", "bad": "all are bad"}.get(
            str(vote), f"pane {chr(65 + vote)} is best" if isinstance(vote, int) else str(vote))
        parts.append(f"vote: {said}{', blind' if facts.get('blind') else ''}")
    return "; ".join(parts) + "."


def _pane(index: int, pane: Mapping[str, Any], chosen: bool, titles: Mapping[str, str]) -> str:
    figures = "".join(_figure(picture) for picture in pane["pictures"])
    lines = [("Run’s seed", str(pane["seed"])), ("Seconds", f"{pane['elapsed_s']:.1f}"),
             ("Device seconds", f"{pane['device_s']:.1f}")]
    if pane["peak_memory_bytes"] is not None:
        lines.append(("Memory", f"{pane['peak_memory_bytes'] / 1e6:.0f} MB at most"))
    if pane["stopped"]:
        lines.append(("Ended", "early, with the best so far"))
    lines += [(titles.get(name, name), _written(value)) for name, value in pane["options"].items()
              if value not in (None, "")]
    lines += [("Weights", f"{model} {digest[:12]}") for model, digest in pane["weights"].items()
              if digest]
    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in lines)
    own = f"<p>{escape(pane['prompt'])}</p>" if pane.get("prompt") else ""
    return (f'<section class="{"chosen" if chosen else ""}"><h2>{chr(65 + index)} · '
            f"{escape(pane['title'])}</h2>{own}{figures}<dl>{rows}</dl></section>")


def _written(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(picture: Mapping[str, Any]) -> str:
    parts = [f"seed {picture['seed']}"]
    parts += [f"{name} {value:.3f}" for name, value in picture["scores"].items()]
    if picture["guide_score"] is not None:
        parts.append(f"guide {picture['guide_score']:.3f}, not comparable")
    text = escape(" · ".join(parts))
    return (f'<figure><img src="{escape(picture["file"])}" alt="{text}"><figcaption>{text}'
            "</figcaption></figure>")

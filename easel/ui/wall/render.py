"""The wall's page: its frame; wall.js fills it from what ``/wall/state`` tells."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from easel.ui.parts.tiles import hidden_alert
from easel.words import strings
from easel.words.language import PORTUGUESE, current

FOLDER = Path(__file__).parent
STYLE, SCRIPT = FOLDER / "wall.css", FOLDER / "wall.js"


def render_wall() -> str:
    """The whole document, in the language to speak."""
    language = "pt-BR" if current() == PORTUGUESE else "en"
    words = json.dumps(strings.WALL_WORDS, ensure_ascii=False).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(strings.WALL)} · {escape(strings.TITLE)}</title>
<link rel="icon" href="favicon.ico">
<style>{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{escape(strings.WALL)}</h1>
<p id="address" hidden>{escape(strings.WALL_DRAW_AT)} <a href="./"></a></p>
<p id="now" role="status"></p>
<div class="tools">
<fieldset class="views" role="radiogroup" aria-label="{escape(strings.WALL_ORDER)}">
<label><input type="radio" name="order" value="newest" checked>
{escape(strings.WALL_NEWEST)}</label>
<label><input type="radio" name="order" value="votes"> {escape(strings.WALL_BY_VOTES)}</label>
</fieldset>
<button type="button" id="controls" aria-pressed="true" hidden>{escape(strings.WALL_CONTROLS)}
</button>
</div>
</header>
{hidden_alert()}
<main>
<p id="empty" hidden>{escape(strings.WALL_EMPTY)}</p>
<div id="tiles"></div>
</main>
<section id="lead" aria-label="{escape(strings.WALL_LEAD)}" hidden>
<button type="button" data-act="stop">{escape(strings.WALL_STOP)}</button>
<button type="button" data-act="go">{escape(strings.WALL_GO)}</button>
<button type="button" data-act="clear" data-ask="{escape(strings.WALL_CLEAR_ASK)}">
{escape(strings.WALL_CLEAR)}</button>
<details id="labels" hidden><summary>{escape(strings.WALL_FILTER)}</summary>
<p>{escape(strings.WALL_FILTER_INFO)}</p>
<label>{escape(strings.WALL_HELD_LABELS)}<textarea id="held" rows="8"></textarea></label>
<label>{escape(strings.WALL_FINE_LABELS)}<textarea id="fine" rows="8"></textarea></label>
<button type="button" id="save-labels">{escape(strings.WALL_SAVE_LABELS)}</button>
</details>
</section>
<form id="enter" hidden><label>{escape(strings.WALL_PASSWORD)}
<input type="password" autocomplete="current-password" required></label>
<button>{escape(strings.MODELS_ENTER)}</button></form>
<dialog aria-label="{escape(strings.WALL_LARGE)}"></dialog>
<script type="application/json" id="words">{words}</script>
<script>{SCRIPT.read_text(encoding="utf-8")}</script>
</body>
</html>
"""

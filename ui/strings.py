"""What the page says. One place, so that a second language is a second table."""

from __future__ import annotations

TITLE = "Easel"
TAGLINE = "Type a prompt. Each generator draws it, and CLIP puts the pictures in order."

PROMPT_LABEL = "Prompt"
PROMPT_PLACEHOLDER = "What should be in the picture?"
FIRST_PROMPT = "three bananas"
GENERATORS_LABEL = "Generators"
COUNT_LABEL = "Pictures"
TAB_GENERATE = "Generate"
GENERATE = "Generate"
STOP = "Stop"
KEYS = "<kbd>Ctrl</kbd> <kbd>Enter</kbd> generates, <kbd>Esc</kbd> stops"
SURPRISE = "Surprise me"
EXAMPLES_LABEL = "Examples"

SEED_LABEL = "Seed"
SEED_INFO = "The same seed and options draw the same pictures; empty for new ones each time."
SEED_PLACEHOLDER = "new each time"
SETTINGS_LABEL = "Seed and options"
ADVANCED_LABEL = "More options"
INIT_IMAGE_LABEL = "Start from a picture (PNG, JPEG or WebP)"

NOTHING_TICKED = "No generator is ticked: tick at least one."
UNEXPECTED = "Something went wrong on this machine; the details are in the server's log."
SAMPLES_STAGE = "Drawn by Easel earlier. Your pictures appear here, the best match first."
EMPTY_STAGE = "The pictures appear here, the best match first."
WAITING = "Next in line"
STARTING = "Starting"
STOPPED_EMPTY = "Stopped before a picture was finished."
RANKING_TITLE = "All pictures, the best match first"

FOOTER = ("Everything runs on this machine; no prompt or picture leaves it. Pictures are kept for "
          "a day and until Easel stops: save those you like.")

"""What the wall of a class says."""

CLASS_NOTE = "What you draw here is shown to everybody on the {}."
WALL, WALL_LINK = "The wall", "wall"
WALL_DRAW_AT, WALL_LEAD = "Draw at", "For whoever leads"
WALL_ORDER, WALL_NEWEST, WALL_BY_VOTES = "Order", "Newest first", "Most votes first"
WALL_CONTROLS, WALL_LARGE = "Controls", "The picture, large"
WALL_EMPTY = "Nothing is on the wall yet: what is drawn here appears by itself."
WALL_STOP, WALL_GO = "Stop all drawing", "Let everybody draw again"
WALL_CLEAR = "Empty the wall"
WALL_CLEAR_ASK = "Take every picture off the wall? They stay in the histories of who drew them."
WALL_FILTER, WALL_SAVE_LABELS = "Filter for public models", "Keep these labels"
WALL_FILTER_INFO = ("A picture of a public model that is most like a label of the first list waits "
                    "here until you show it. One label a line. The filter errs both ways.")
WALL_HELD_LABELS, WALL_FINE_LABELS = "Wait for my word", "Fine"
WALL_PASSWORD = "Password of whoever leads"
WALL_WORDS = {  # of wall.js
    "lost": "Easel cannot be reached: this page tries again.", "large": "Open large: {}",
    "hidden": "Hidden from the others", "unseen": "The filter has yet to look at it",
    "held": "Held by the filter: {}", "vote": "Vote for {}, {} so far",
    "take_down": "Take down", "pin": "Pin", "unpin": "Unpin", "hide": "Hide", "show": "Show",
    "hand": "+1 hand", "unhand": "−1 hand", "stopped": "All drawing is stopped for now",
    "now": "Drawing now: {}, waiting: {}", "close": "Close"}

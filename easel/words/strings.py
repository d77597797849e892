"""What the page says, in English; ``translations`` has every text in the other languages.

A name of this module is its text in the language of the request that is being answered, so that
``strings.STOP`` says "Parar" to a visitor whose browser prefers Portuguese. While the page is
built it is the English text, which ``easel.ui.parts.page_words`` marks for the browser.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from easel.words.language import say_all


class _Spoken(ModuleType):
    """A module whose constants are said in the language to speak now."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return say_all(value) if name.isupper() else value


sys.modules[__name__].__class__ = _Spoken

TITLE = "Easel"
TAGLINE = "Type a prompt. Each generator draws it, and CLIP puts the pictures in order."

PROMPT_LABEL = "Prompt"
PROMPT_PLACEHOLDER = "What should be in the picture?"
FIRST_PROMPT = "a red apple next to a blue car at the beach"
GENERATORS_LABEL = "Generators"
COUNT_LABEL = "Pictures"
TAB_GENERATE = "Generate"
TAB_COMPARE = "Compare"
TAB_RERANK = "Rerank"
GENERATE = "Generate"
STOP = "Stop"
KEYS = ("<kbd>Enter</kbd> generates, <kbd>Shift</kbd> <kbd>Enter</kbd> makes a line, "
        "<kbd>Esc</kbd> stops")
KEYS_CTRL = ("<kbd>Ctrl</kbd> <kbd>Enter</kbd> generates, <kbd>Enter</kbd> makes a line, "
             "<kbd>Esc</kbd> stops")
KEYS_USE_CTRL, KEYS_USE_ENTER = "Use Ctrl+Enter", "Use Enter alone"
QUEUE_ADD, QUEUE, NOTIFY = "Add to queue", "Queue", "Notify me when a run ends while I am elsewhere"
QUEUE_KINDS = {"embed": "Scores by CLIP", "look": "A look at pictures", "walk": "Walk"}
EARLIER_RUN = "The run before"
LINK, LINK_TITLE = "Link", "Copy an address that opens this tab with this prompt"
PRESENT, PRESENT_TITLE = "Present", "Large type and no forms, for a projector; press again to leave"
SURPRISE = "Surprise me"
EXAMPLES_LABEL = "Examples"

SEED_LABEL = "Seed"
SEED_INFO = "The same seed and options draw the same pictures; empty for new ones each time."
SEED_PLACEHOLDER = "new each time"
BEST_OF = "Best of"
BEST_OF_INFO = ("How many pictures each generator draws to show its best; 0 for no more than are "
                "shown.")
SETTINGS_LABEL = "Seed and options"
ADVANCED_LABEL = "More options"
PRESET, PRESET_INFO = "Preset", "Options of one generator under a name; they fill the form in."
PRESETS_OWN = "Presets of your own"
PRESET_NAME, PRESET_NAME_INFO = "Name", "Keeps the options of every ticked generator."
PRESET_SAVE, PRESET_DELETE = "Keep under this name", "Delete the chosen one"
PRESETS_IMPORT, PRESETS_EXPORT = "Take over a file", "Download as TOML"
PRESET_FILLED, PRESET_SAVED = "{}: {} is filled in.", "{} is kept for {}."
PRESET_DELETED, PRESETS_IMPORTED = "{} is deleted.", "Presets taken over: {}."
NUMBER_FOR, SLIDER_FOR = "number input for {}", "range slider for {}"
INIT_FROM, INIT_REMOVE = "{} starts from this picture.", "Remove"
START_PICTURE = "{}: start from a picture (PNG, JPEG or WebP)"
MASK = "{}: mask, white where the picture to start from may change"
IMAGE_PROMPTS = "{}: image prompts, up to {} pictures that the result should be like"
INIT_IMAGE_LABEL = "Start from a picture (PNG, JPEG or WebP)"

NOTHING_TICKED = "No generator is ticked: tick at least one."
ODD_CALL = "The request does not hold what this function takes."
DISK_FULL = "This machine's disk is full, so what was asked for could not be written."
UNEXPECTED = "Something went wrong on this machine; the details are in the server's log."
SAMPLES_STAGE = "Drawn by Easel earlier. Your pictures appear here, the best match first."
EMPTY_STAGE = "The pictures appear here, the best match first."
WAITING = "Next in line"
STARTING = "Starting"
STOPPED_EMPTY = "Stopped before a picture was finished."
RANKING_TITLE = "All pictures, the best match first"

FOOTER = ("Everything runs on this machine; no prompt or picture leaves it. Your pictures are kept "
          "in the history of this browser.")

# Runs and their pictures
ONE_PICTURE, PICTURES = "1 picture", "{} pictures"
STOPPED_AFTER = "Stopped after {}; the best so far is kept"
DONE_IN = "{} in {}"
EQUAL_PICTURES = "{} the same as another and kept once"
STEP_OF = "Step {} of {}"
TIME_LEFT = "about {} left"
IN_THE_MAKING = "{} (in the making)"
BEST_OF_DRAWN = "The best {} of {} pictures"
SCORE_TITLE = "Cosine similarity of picture and prompt, by the ranker"
FIT = "fit {} %"
FIT_TITLE = "Fits better than {} % of pictures that miss a part of their prompt, by the ranker"
BEST_FITS = "Best match: {}, better than {} % of pictures that miss a part of their prompt."
NONE_FITS = ("None of these fits well: the best beats {} % of pictures that miss a part of their "
             "prompt, and {} % would make a match. Try other words.")
SOME_TIED = "The first {} fit equally well: their order says nothing."
ALL_TIED = "All {} fit equally well: their order says nothing."
REJECTED = "CLIP left out {} of {} pictures."
GAINED = "What it kept fits {} % on average, all of them {} %."
ORDER_BY = "In the order of {}"
BY_CLIP, BY_GENERATOR, PICTURES_BY = "By CLIP", "By generator", "Order of the pictures"
SEED_OF = "seed {}"
OPEN_LARGE = "Open picture {} large: {}"
CURVE_OF = "Curve of {}"
WORDS_NEAR = "Not words that Easel draws, but near ones that it does:"
WORDS_UNKNOWN = "Easel has never seen {}: it draws something else for it, so better leave it out."
WORDS_APART = ("Easel knows these words, but not put together like this: it draws things side by "
               "side, above or on top of each other, and at places. It knows:")
WORDS_WORN = "Easel dresses nobody: what is worn stands beside. It knows:"
WORDS_FOREIGN = ("Easel reads English and Portuguese; a prompt in another language draws nothing "
                 "that it means.")
JUDGED_NEAR = "Not words that the CLIPs of Easel’s world know, but near ones that they do:"
JUDGED_UNKNOWN = "The CLIPs of Easel’s world have never seen {}: what they say of it means nothing."
JUDGED_FOREIGN = "The CLIPs of Easel’s world read English and Portuguese alone."
DRAWABLE = "What it can draw"
DRAWABLE_LINE = "The models inside know {} things, {} places, {} colours and {} media."
DRAWABLE_SHOW = "See them"
DRAWABLE_SEARCH = "Search: dog, cachorro, red …"
DRAWABLE_NONE = "There is no such word: what is not here is drawn as something else."
DRAWABLE_RELATIONS = "Relations"
DRAWABLE_GROUPS = {
    "animal": "Animals", "person": "People", "food": "Food", "household": "Household",
    "clothing": "Clothing", "vehicle": "Vehicles", "tool": "Tools", "sport": "Sport",
    "weather": "Sky and landscape", "electronics": "Electronics", "plant": "Plants",
    "building": "Buildings", "symbol": "Symbols", "music": "Music", "office": "Office",
    "holiday": "Holidays"}
PROMPT_CUT = "The prompt is longer than the embedded models read; its end is not seen."
BEST_AFTER = "Best so far after its {}"

# Paused runs and videos
PAUSE = "Pause"
PAUSED_AT = "Paused at step {} of {}; it waits under Paused runs"
VIDEO = "Video"
PLAYER, PLAYER_PLAY, PLAYER_STEP = "How they came about, step by step", "Play", "Step"
CURVE_STEP = "step {}"
VIDEO_TITLE = "How the pictures came about, as an mp4"
PAUSED_RUNS = "Paused runs"
PAUSED_NONE = "A run of VQGAN+CLIP that you pause waits here, also while Easel is not running."
PAUSED_RUN = "Run"
PAUSED_LINE = "{} · step {} of {}"
PAUSED_ONE = "1 picture, step {} of {}"
PAUSED_MANY = "{} pictures, step {} of {}"
PAUSED_BY_END = "Easel ended while it ran"
PAUSED_PROMPT = "Prompt from here on"
PAUSED_PROMPT_INFO = ("Weights are part of it, as in a red apple:2 | a worm:-1. A change is marked "
                      "on the loss curve.")
PAUSED_STEPS = "Steps in all"
PAUSED_GONE_ON = "Another run is under way: pause it or stop it first."
PAUSED_SEED = "New seed"
PAUSED_SEED_PLACEHOLDER = "as before"
PAUSED_NOISE = "Noise"
RESUME, BRANCH = "Resume", "Branch"
RESUME_INFO = ("Resume goes on with this run; Branch leaves it here and goes on with another. A "
               "new seed counts with noise or with cutouts that vary.")
PAUSED_DELETE = "Delete"
MARK_AT = "Step {}: {}"
MARK_PROMPT, MARK_STEPS, MARK_SEED = "prompt “{}”", "{} steps", "seed {}"
MARK_NOISE, MARK_BRANCH = "noise {}", "branch"

# What page.js says
SCRIPT_WORDS = ("Save PNG", "Use prompt and seed", "Close", "Picture {}: {}",
                "Previous", "Next", "The pictures are done: show the best",
                "{} pictures are too many: {} is the most.", "{} selected",
                "Copied", "Step {}", "Play", "Stop", "Preview {} of {}",
                "{} · not here", "{} is not on this machine.", "Download {}",
                "Choose a day", "running", "waiting", "somebody’s", "Cancel", "Cancel: {}",
                "your run", "A run has ended",
                "This browser does not let Easel notify you: allow it in the browser’s settings.")

# The wall of a class
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

# Compare
COMPARE = "Compare"
ADD_PANE = "Add a pane"
REMOVE_PANE = "Remove the last"
PANE_OPTIONS = "Options"
PANE_SEED = "as the others"
PANE, PANE_GENERATOR = "Pane {}", "Generator of pane {}"
PANE_PICTURES, PANE_OPTIONS_OF = "Pictures of pane {}", "Options of {}, pane {}"
COMPARE_SETTINGS = "Seed, time and start picture"
COMPARE_SEED_INFO = "For every pane that names none; empty for a new one, the same for all."
BUDGET_LABEL = "Seconds for each"
BUDGET_INFO = ("Device seconds after which a pane keeps its best so far; empty to let each finish. "
               "The panes take turns on the one device, by seconds and not by steps.")
BLIND_LABEL = "Blind"
BLIND_INFO = "Panes are shuffled and unnamed until you vote."
STOP_PANE = "Stop {}"
PICTURE_OF = "Picture {}"
DRAWING = "Drawing"
FINISHED = "Finished"
COMPARE_EMPTY = "Each pane draws the prompt with its own settings, all at the same time."
COMPARE_EXAMPLE = "A comparison by Easel"
DEVICE_SECONDS = "{} on the device"
PEAK_MEMORY = "{:.0f} MB at most"
USAGE_TITLE = ("Seconds of this pane's own steps, without the loading of models; the memory that "
               "they held at most, beside the models")
CLIP_TITLE = "Cosine similarity of picture and prompt, by the ranker; comparable across panes"
GUIDE_TITLE = ("Similarity by the CLIP that guided this picture: it was optimised against, and "
               "compares with nothing else")
GUIDE_SCORE = "guide {}, not comparable"
VOTE_LABEL = "Which is best?"
VOTE_KEYS = "Press {} on the keyboard, or 0 for a tie."
VOTE_KEYS_BLIND = "Click the best picture, press {} on the keyboard, or 0 for a tie."
VOTE_FOR = "{} is best"
VOTE_LEFT, VOTE_RIGHT = "Left is better", "Right is better"
VOTE_TIE, VOTE_BAD = "Tie", "All are bad"
NO_CHOICE = {"tie": "You called it a tie.", "bad": "You found all of them bad."}
YOUR_CHOICE = "You chose {}."
CLIP_AGREES = " CLIP would have chosen the same."
CLIP_DISAGREES = " CLIP would have chosen {}."

# History
TAB_HISTORY = "History"
HISTORY_SEARCH = "Search"
HISTORY_SEARCH_PLACEHOLDER = "Words of the prompt"
HISTORY_FILTERS = "Filters"
HISTORY_FROM, HISTORY_TO = "From (UTC)", "To (UTC)"
HISTORY_PIPELINE, HISTORY_MODEL, HISTORY_RATING = "Generator", "Model", "Rating"
HISTORY_ANY = "any"
HISTORY_FAVOURITES, HISTORY_DELETED = "Only favourites", "Deleted pictures"
HISTORY_NEWER, HISTORY_OLDER = "Newer", "Older"
HISTORY_EXPORT = "Export as zip"
HISTORY_NONE = "Every picture that you draw is kept here, with its settings."
HISTORY_NO_MATCH = "No picture matches these filters."
HISTORY_NO_DELETED = "There are no deleted pictures. What is deleted can be restored for 30 days."
HISTORY_EMPTY_BIN = "Delete these for good"
HISTORY_RERANK = "Rerank these"
HISTORY_PAGE = "{}, page {} of {}"
HISTORY_STARS, STARS = "{} of {} or more", "{} of 5"
HISTORY_BACK = "Back to all pictures"
HISTORY_GONE = "{} removed for good."
OPEN_KEPT, SELECT_KEPT = "Open: {}", "Select: {}"
KEPT_ACTS = {"rerank": "Rerank", "favourite": "Favourite", "delete": "Delete",
             "restore": "Restore", "none": "Clear the selection"}
REUSE, VARY, USE_AS_INIT = "Reuse settings", "Vary", "Use as init image"
FAVOURITE, RATING = "Favourite", "Rating"
NO_RATING = "none"
DELETE, RESTORE = "Delete", "Restore"
DELETED_MARK = "deleted"
SAVE_PNG = "Save PNG"
ANCESTORS, DESCENDANTS = "Made from", "Made from this"
INIT_TAKEN = "{} starts from the picture; say what it should become and press Generate."
INIT_GONE = "Its init image is not in the history, so choose it again."
PICTURES_GONE = "Its mask and image prompts are not kept, so choose them again."
RECALL_LABEL = "Settings from a picture by Easel, A1111, InvokeAI or ComfyUI"
FILLED_PROMPT, FILLED_CUT, FILLED_SEED = "prompt", "prompt, shortened", "seed"
FILLED_NEGATIVE = "negative prompt"
FILLED_GENERATOR, FILLED_OPTIONS, FILLED_NOTHING = "generator {}", "options", "nothing that fits"
FILLED_FROM, FILLED_LEFT = "From {}: {}.", " Without a place here: {}."
FILLED_MORE = "{} more"
FILLED_EMPTIED = " Not found, so empty now: {}."
FILLED_DEFAULTS = " Everything else is at its default."
START_FROM = "Start {} from it"
SHARED_LABEL = "Shared history"
SHARED_PASSWORD = "Password"
SHARED_INFO = ("Who knows the password sees one history together, and what they draw goes there. "
               "Your own stays as it is.")
SHARED_IN = "This is the shared history; your own comes back when you sign out."
SIGN_IN, SIGN_OUT = "Sign in", "Sign out"

# The lab
TAB_LAB = "Lab"
LAB_CLIP = "CLIP"
LAB_CLIP_INFO = ("Which CLIP looks: the embedded ranker and guide know the world that Easel was "
                 "trained on, the photo CLIP about a thousand kinds of things, in English.")
BY_PICTURES = "Whichever suits the pictures"
SUITED_PHOTOS = "chosen because the pictures are unlike Easel's own, as photographs are."
PHOTOS_LIMITS = ("The {} does not know people; it knows about a thousand kinds of things, and "
                 "reads English.")
SUITED_WORLD = "chosen because the pictures are like Easel's own."
MISFITS_ALL = "The {} has seen nothing like this: the figures mean little and are grey."
MISFITS = ("The {} has seen nothing like {} of these {} pictures: their figures mean little and "
           "are grey.")
USE_CLIP = "Use the {} instead"
LAB_CLASSIFY, LAB_SEARCH, LAB_MATRIX, LAB_MAP = "Classify", "Search", "Matrix", "Map"
LAB_PICTURES = "Pictures (PNG, JPEG or WebP)"
LAB_LABELS = "Labels"
LAB_LABELS_INFO = "With commas or line ends between them. CLIP says which one fits best."
LAB_FIRST_LABELS = "cat, dog, human"
LAB_LABELS_FILE = "Labels from a file"
LAB_TEMPLATES = "Templates"
LAB_TEMPLATES_INFO = "One a line; the label goes where {} is. Several are averaged."
LAB_WHERE = "Where"
LAB_WHERE_FOLDERS_INFO = "A folder below one of these may be typed as well."
LAB_EXAMPLE = "Cat, dog or human?"
LAB_SORT = "Sort into these labels"
LAB_CSV = "Save as CSV"
LAB_REBUILD = "Make the index anew"
LAB_STARTING = "Starting."
LAB_EMPTY_CLASSIFY = ("Each picture is compared with each label's text; a softmax over the labels "
                      "makes probabilities of the similarities.")
LAB_TEXT, LAB_TEXT_PLACEHOLDER = "Look for", "three bananas"
LAB_MINUS, LAB_MINUS_PLACEHOLDER = "Without", "nothing"
LAB_LIKE = "Like this picture"
LAB_LIKE_WEIGHT = "Weight of the picture"
LAB_LIKE_WEIGHT_INFO = "How much the picture counts beside the text."
LAB_FILTERS = "Filters"
LAB_THRESHOLD = "Least similarity"
LAB_THRESHOLD_INFO = "From -1 to 1; empty for any, and for 0.97 with near-duplicates."
LAB_LIMIT = "Results"
LAB_SINCE, LAB_UNTIL = "First day (UTC)", "Last day (UTC)"
LAB_DAY_PLACEHOLDER = "2026-11-24"
LAB_GENERATORS = "Generators"
LAB_DO_SEARCH, LAB_DO_INDEX = "Search", "Index"
LAB_DUPLICATES = "Find near-duplicates"
LAB_EMPTY_SEARCH = ("Pictures are found by what they show: by a text, by another picture, by both, "
                    "or by one text without another.")
LAB_COLLECTION, LAB_COLLECTION_TEXT = "Pictures by Easel", "a cat"
LAB_BAD_NUMBER = "The least similarity must be a number from -1 to 1."
LAB_FOUND = "{} found among {} · {}"
LAB_PICTURE, LAB_LIKELIEST = "Picture", "Likeliest labels"
LAB_ONE_TEMPLATE, LAB_AVERAGED = "1 template", "{} templates, averaged"
LAB_OTHERS = "{} other labels together: {}"
LAB_MORE = "and {} more"
LAB_MORE_ROWS = "and {} more; the CSV has all of them"
LAB_FAULTS = "Files that cannot be read: {}"
LAB_NO_HITS = "No picture fits."
LAB_GROUP = "Group {}: {} pictures"
LAB_NO_DUPLICATES = "No two pictures are that much alike."
LAB_COMPARING = "Comparing all pairs: {} %."
LAB_FILE_GONE = "file gone"
LAB_STOPPED = "Stopped."
LOGIT_SCALE = "logit scale {}"
LOGIT_SCALE_INFO = ("Similarities are multiplied by it before the softmax: the larger it is, the "
                    "surer CLIP sounds. It was learned in training.")
MATRIX_TEXTS_LABEL, MATRIX_TEXTS_INFO = "Texts", "One a line."
MATRIX_DO, MATRIX_EXAMPLE = "Compare", "Four pictures by Easel"
MATRIX_SHOW = "What the figures are"
MATRIX_PICTURES = "Softmax over the pictures (rows)"
MATRIX_TEXTS = "Softmax over the texts (columns)"
MATRIX_SIMILARITIES = "Cosine similarities"
MATRIX_DIAGONAL = ("In this order, {0} of {2} texts find their picture and {1} of {2} pictures "
                   "find their text: CLIP was trained to make the diagonal win both ways.")
MATRIX_EMPTY = ("Every text is compared with every picture. The softmax of a row says which "
                "picture fits a text, that of a column which text fits a picture.")
MAP_DO, MAP_TITLE = "Draw the map", "Map of the collection"
MAP_LABELS_INFO = "Each picture takes the colour of its best label; empty for its generator."
MAP_EMPTY = ("The two directions in which the collection's features vary most (PCA): what CLIP "
             "finds alike lies close together.")
MAP_SHARES = "These two directions keep {} of the variance."
MAP_SOME = "{} of {} pictures are drawn."

# Rerank
RERANK = "Rerank"
RERANK_EMPTY = "CLIP compares each picture with each prompt; the best match comes first."
RERANK_FILES = "Pictures (PNG, JPEG or WebP), up to 64"
RERANK_SOURCE = "Candidates"
SOURCE_FILES, SOURCE_HISTORY = "Uploaded files", "My history, the newest"
SOURCE_LAST, SOURCE_CHOSEN = "The last run", "Chosen in the history"
CHOSEN_NOTE = "Pictures chosen in the history: {}."
NO_LAST_RUN = "Nothing was drawn on this page yet: draw something, or choose other candidates."
NOTHING_CHOSEN = "Nothing is chosen in the history: filter it there and press Rerank these."
RERANK_COUNT = "How many"
RERANK_FILTER = "Prompt contains"
PROMPTS_FOR = "Prompts"
PROMPTS_FOR_INFO = "One a line, each with a weight if you like: a red apple:2"
PROMPTS_AGAINST = "Prompts against"
PROMPTS_AGAINST_INFO = "What should not be there, one a line."
CLIPS_LABEL = "CLIP"
CLIPS_INFO = ("The ranker guides no generator. Scores of several CLIPs are put on one scale and "
              "averaged.")
KEEP_BEST = "Keep the best"
KEEP_BEST_INFO = "How many pictures the gallery and the zip file hold; 0 for all."
SAVE_BEST = "Save as zip"
RANK_ORDER, RANK_TABLE, RANK_BARS, RANK_HEAT = "In order", "Table", "Scores", "Pictures × prompts"
RANK_VIEWS, RANK_RANK, RANK_PICTURE, RANK_SCORE = "View", "Rank", "Picture", "Score"
RANK_WEIGHT = "weight {:g}"
DRAWING_RANKS = "Ranking."
RANKED_STATUS = "Pictures: {}, prompts: {}, in {}"

# Walk
WALK = "Walk"
WALK_FROM, WALK_TO = "From", "To"
WALK_FIRST, WALK_LAST = "a red apple", "a blue car"
WALK_PICTURE = "or a picture, which counts in place of the prompt"
WALK_FRAMES = "Frames"
WALK_FRAMES_INFO = "How many pictures, the two ends among them."
WALK_SEED_INFO = "Of the noise that all frames start from; empty for a new one each time."
WALK_INFO = ("unCLIP draws every frame from the same noise; only the CLIP image embedding moves, "
             "along the sphere from one end to the other (Ramesh et al. 2022, section 3.2).")
WALK_EMPTY = "The frames appear here side by side, and a video of them."
WALK_OF = "From {} to {}"
WALK_A_PICTURE = "a picture"
WALK_STRIP = "All frames, from left to right"
WALK_VIDEO_OF = "{}, as a video"
WALK_FRAME = "Frame {} of {}"
WALK_DONE = "{} frames in {}"
WALK_STOPPED = "Stopped with {} of {} frames."
WALK_SAVE_VIDEO, WALK_SAVE_STRIP = "Save the video", "Save the strip"

# Models
TAB_MODELS = "Models"
MODELS_DEVICE, MODELS_HOST = "Models on the device", "Models in host memory"
MODELS_OF = "{} of {}"
MODELS_HEADS = ("Model", "Size", "State", "Last load", "Hits · misses · evictions", "")
MODELS_KINDS = {"embedded": "Embedded", "public": "Public checkpoints", "own": "Your own"}
MODELS_ABOUT, MODELS_NEEDS = "about {}", "takes about {} in use"
MODELS_LOOK = "Models are changed by who keeps this Easel; you may look."
MODELS_PASSWORD, MODELS_ENTER = "Password for changing models", "Enter"
MODELS_UNKNOWN, MODELS_NEVER = "size not known", "–"
MODELS_PINNED, MODELS_OFFLOADED = "pinned", "weights in host memory"
MODELS_UNLICENSED = "licence not stated"
MODELS_ACTS = {"download": "Download", "cancel": "Cancel", "load": "Load", "unload": "Unload",
               "pin": "Pin", "unpin": "Unpin", "get": "Download", "halt": "Cancel"}
MODELS_ALL = "All models, and where they are"
WISH_HERE, WISH_COMING, WISH_REST = "here", "downloading, {} %", "{} of {} parts here, {} to come"
NOT_HERE, NOT_HERE_NOTE = "{} · not here", "{} is not on this machine."
MORE_CLIPS = "CLIPs that are not on this machine"
FETCH, FETCHED = "Download {}", "{} is on this machine now."
WISH_TOOK, WISH_TAKES = "{} for your last picture here", "about {} a picture here, estimated"
START_HEAD, START_MORE = "Get started with public models", "More to wish for"
START_MACHINE = "This machine has no GPU, {} of memory and {} free on disk. These give most here:"
START_MACHINE_GPU = ("This machine has {} with {} of memory and {} free on disk. "
                     "These give most here:")

# Grids (on the Compare tab)
SWEEP = "Grid over two options"
SWEEP_INFO = ("Pane A’s settings, with one option along each side. Values with commas, or 1..5, "
              "or 0.5..1/3 for three of them; on, off for a tick box. In the prompt {red|blue} "
              "stands for both, and __animal__ for a word drawn by the seed.")
SWEEP_FILE = ("Prompts from a file, a row each in the place of Down: text with one a line, or a "
              "CSV table with a column “prompt” and others for options")
SWEEP_FILE_GONE = "The file of prompts is no longer there: choose it again."
SWEEP_X, SWEEP_Y = "Across", "Down"
SWEEP_NONE = "nothing"
SWEEP_RUN = "Draw the grid"
SWEEP_SAVE = "Save as one picture"
SWEEP_STATUS = "{} of {} cells · {}"
SWEEP_AXES_FULL = "The prompt has alternatives in braces: choose Prompt as one side of the grid."
SUGGESTIONS = "Continue with"

# Leaderboard and bundles (on the Compare tab)
LEADERBOARD = "Leaderboard"
LEADERS_KIND, LEADERS_ALL = "Kind of prompt", "all"
LEADERS_OPEN = "Count open votes too"
LEADERS_NONE = "There is no such vote yet: compare two generators, and vote."
LEADERS_HEADS = ("Rank", "Generator", "Points", "95 % interval", "Votes", "Wins")
LEADERS_FEW = "A generator has a rank and points once there are {} votes between it and another."
LEADERS_INFO = ("Strengths by the Bradley-Terry model, 400 points for odds of ten to one, 1000 on "
                "average; the interval is what so many votes leave open. A tie is half a win for "
                "both.")
LEADERS_RANGE = "{:.0f} to {:.0f}"
LEADERS_CLIP = "CLIP’s scores would have chosen the same in {} of {} votes for a pane."
SAVE_COMPARISON = "Save as zip"
OPEN_COMPARISON = "Open a saved comparison"
OPEN_INFO = "A zip file that Easel saved. Compare then draws it again."

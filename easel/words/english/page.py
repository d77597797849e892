"""What the page says of Generate, of runs, and what all its tabs share."""

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
QUEUE_KINDS = {"embed": "Scores by CLIP", "look": "A look at pictures", "walk": "Walk",
               "inside": "A look inside"}
EARLIER_RUN = "The run before"
LINK, LINK_TITLE = "Link", (
    "Copy an address that opens this tab with this prompt, and show it as a QR code")
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
INIT_FROM, INIT_FROM_ALL = "{} starts from this picture.", "The panes start from this picture."
PROMPT_OF, PROMPT_OF_ALL = "{}: image prompt {}", "Image prompt {}"
MASK_OF, MASK_OF_ALL = "{}: mask", "Mask"
PICTURE_REMOVE, PICTURE_TAKEN = "Take away: {}", "Taken away: {}"
PICTURE_UNDO, UNDO = "Undo: {}", "Undo"
START_PICTURE = "{}: start from a picture (PNG, JPEG or WebP)"
MASK = "{}: mask, white where the picture to start from may change"
IMAGE_PROMPTS = "{}: image prompts, up to {} pictures that the result should be like"
MASK_LABEL = "Mask, white where the picture to start from may change"
IMAGE_PROMPTS_LABEL = "Image prompts, up to {} pictures that the result should be like"
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
PICTURES = ("{} picture", "{} pictures")
STOPPED_AFTER = "Stopped after {}; the best so far is kept"
STOPPED_AT_LIMIT = ("Stopped after {:,} s on the device, the most that a run may take here; the "
                    "best so far is kept.")
DONE_IN = "{} in {}"
EQUAL_PICTURES = ("{} is the same as another and kept once",
                  "{} are the same as another and kept once")
STEP_OF = "Step {} of {}"
TIME_LEFT = "about {} left"
IN_THE_MAKING = "{} (in the making)"
BEST_OF_DRAWN = ("The best of {1} pictures", "The best {} of {} pictures")
SCORE_TITLE = "Cosine similarity of picture and prompt, by the ranker"
FIT = "fit {} %"
FIT_TITLE = ("Better than {} % of near misses, pictures that miss a part of their prompt, by the "
             "ranker")
BEST_FITS = "Best match: {}, better than {} % of pictures that miss a part of their prompt."
NONE_FITS = ("None of these fits well: the best beats {} % of pictures that miss a part of their "
             "prompt, and {} % would make a match. Try other words.")
NONE_SURE = ("CLIP is sure of none of these: the best beats {} % of pictures that miss a part of "
             "their prompt, and {} % is sure. Look for yourself.")
BEST_DOUBTED = ("Best match: {}. But CLIP does not know all of this prompt either, so its scores "
                "mean little here: see the line under the prompt.")
SOME_TIED = "The first {} fit equally well: their order says nothing."
ALL_TIED = "All {} fit equally well: their order says nothing."
SOME_ALIKE = "The first {} are nearly the same picture: other words change more than another seed."
ALL_ALIKE = "All {} are nearly the same picture: other words change more than another seed."
REJECTED = "CLIP left out {} of {} pictures."
GAINED = "What it kept fits {} % on average, all of them {} %."
ORDER_BY = "In the order of {}"
BY_CLIP, BY_GENERATOR, PICTURES_BY = "By CLIP", "By generator", "Order of the pictures"
SEED_OF = "seed {}"
OPEN_LARGE = "Open picture {} large: {}"
CURVE_OF = "Curve of {}"
WORDS_KNOWN = "Easel has learned every word of it."
WORDS_NEAR = "Near words that Easel draws:"
WORDS_UNKNOWN = "Easel has never seen {}: it draws something else for it, so better leave it out."
WORDS_APART = "Known words, but not put together so. Easel draws:"
WORDS_WORN = "Easel dresses nobody. It draws:"
WORDS_MEDIUM = "Most things are lost in this medium. Better:"
WORDS_FOREIGN = ("Easel reads English and Portuguese; a prompt in another language draws nothing "
                 "that it means.")
WORDS_TEMPLATE = "Wildcards and {a|b} are filled in by Compare’s grid; here they are no words."
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
PAUSED_PICTURES = ("{} picture, step {} of {}", "{} pictures, step {} of {}")
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
MARK_PROMPT, MARK_STEPS, MARK_SEED = "prompt “{}”", ("{} step", "{} steps"), "seed {}"
MARK_NOISE, MARK_BRANCH = "noise {}", "branch"

# What page.js says
SCRIPT_WORDS = ("Save PNG", "Use prompt and seed", "Look inside", "Close", "Picture {}: {}",
                "Previous", "Next", "The pictures are done: show the best",
                "{} pictures are too many: {} is the most.", "{} selected",
                "Copied", "QR code of this address",
                "The address is too long for a QR code: shorten the prompt.",
                "Only this machine knows this address: phones need the one by which your network "
                "knows it.", "Step {}", "Play", "Stop", "Preview {} of {}",
                "{} · not here", "{} is not on this machine.", "Download {}",
                "{} files", "Add files", "Take away: {}", "number input for {}",
                "range slider for {}", "YYYY-MM-DD",
                "Choose a day", "running", "waiting", "somebody’s", "Cancel", "Cancel: {}",
                "your run", "A run has ended", "{} of {} stay",
                "The picture’s file is no longer there.",
                "Left out, because the address would be too long: {}.",
                "This browser does not let Easel notify you: allow it in the browser’s settings.")

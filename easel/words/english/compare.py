"""What the Compare tab says."""

COMPARE = "Compare"
ADD_PANE = "Add a pane"
REMOVE_PANE = "Remove the last"
PANE_OPTIONS, PANE_PROMPT = "Own prompt, options", "Own prompt"
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
VOTE_UNCOUNTED = ("This vote is shown here and does not count on the leaderboard: the history of "
                  "this server does not know all of these pictures, as drawn by these generators "
                  "from this prompt.")
VOTE_PROMPTS = ("This vote is shown here and does not count on the leaderboard: the panes had "
                "different prompts, of which one may be easier.")
CLIP_AGREES = " The ranker would have chosen the same."
CLIP_DISAGREES = " The ranker would have chosen {}."

# Grids
SWEEP = "Grid over two options"
SWEEP_INFO = ("Pane A’s settings, with one option along each side. Values with commas, or 1..5, "
              "or 0.5..1/3 for three of them; on, off for a tick box. In the prompt {red|blue} "
              "stands for both, and __animal__ for a word drawn by the seed.")
SWEEP_FILE = ("Prompts from a file, a row each in the place of Down: text with one a line, or a "
              "CSV table with a column “prompt” and others for options")
SWEEP_FILE_GONE = "The file of prompts is no longer there: choose it again."
SWEEP_X, SWEEP_Y = "Across", "Down"
SWEEP_VALUES_X, SWEEP_VALUES_Y = "Values across", "Values down"
SWEEP_NONE = "nothing"
SWEEP_RUN = "Draw the grid"
SWEEP_SAVE = "Save as one picture"
SWEEP_STATUS = ("{1} of {0} cell · {2}", "{1} of {0} cells · {2}")
SWEEP_AXES_FULL = "The prompt has alternatives in braces: choose Prompt as one side of the grid."
SUGGESTIONS = "Continue with"
WORDS_OWN = "Lists of words of your own"
WORDS_OWN_INFO = ("A list called mood is __mood__ in a prompt of a grid: each seed draws one of "
                  "its words. Yours go before Easel’s own of the same name.")
WORDS_CHOSEN, WORDS_CHOICE = "List", "__{}__ ({})"
WORDS_NAME_INFO = "Letters a to z, digits and -, as in mood."
WORDS_TEXT = "Words, one a line"
WORDS_SAVED, WORDS_IMPORTED = "__{}__ is kept. Words: {}.", "Lists taken over: {}."

# Leaderboard and bundles
LEADERBOARD = "Leaderboard"
LEADERS_KIND, LEADERS_ALL = "Kind of prompt", "all"
LEADERS_OPEN = "Count open votes too"
LEADERS_NONE = "There is no such vote yet: compare two generators, and vote."
LEADERS_NONE_BLIND = ("There is no blind vote of this kind yet: tick “Blind” above, compare two "
                      "generators, and vote; or count open votes too.")
LEADERS_HEADS = ("Rank", "Generator", "Points", "95 % interval", "Votes", "Wins")
LEADERS_FEW = "A generator has a rank and points once there are {} votes between it and another."
LEADERS_INFO = ("Strengths by the Bradley-Terry model, 400 points for odds of ten to one, 1000 on "
                "average; the interval is what so many votes leave open. A tie is half a win for "
                "both.")
LEADERS_RANGE = "{:.0f} to {:.0f}"
LEADERS_CLIP = ("CLIP’s scores would have chosen the same in {1} of {0} vote for a pane.",
                "CLIP’s scores would have chosen the same in {1} of {0} votes for a pane.")
SAVE_COMPARISON = "Save as zip"
OPEN_COMPARISON = "Open a saved comparison"
OPEN_INFO = "A zip file that Easel saved. Compare then draws it again."

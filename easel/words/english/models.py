"""What the Models tab says."""

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
MODELS_RUNNERS = "runners: {}"
MODELS_RUNNERS_HERE = "Runners: {}; {} wanted now, {} at least and {} at most."
MODELS_UNLICENSED = "licence not stated"
MODELS_ACTS = {"download": "Download", "cancel": "Cancel", "load": "Load", "unload": "Unload",
               "pin": "Pin", "unpin": "Unpin", "get": "Download", "halt": "Cancel"}
MODELS_INSIDE = ("The models inside are here already and drew these; a press takes the prompt to "
                 "Generate.")
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

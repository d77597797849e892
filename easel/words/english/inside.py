"""What the tab says that shows how the models work."""

TAB_INSIDE = "Inside"
INSIDE_NEW, INSIDE_LESSONS = "New here?", "Eight lessons, half an hour: {}"
INSIDE_PICTURE = "Picture (PNG, JPEG or WebP)"
INSIDE_SHOWN = "The chosen picture"
INSIDE_PROMPT = "What it should show"
INSIDE_OWN = "My newest pictures"
INSIDE_TAKE = "Take this picture: {}"
INSIDE_SECOND = "Second picture (PNG, JPEG or WebP)"
INSIDE_NO_PICTURE = "There is no picture: choose one first."
INSIDE_GUESS = "Your guess"
INSIDE_GUESSED = "Your guess was “{}”."
INSIDE_MEANS = "What these figures mean"

# Why this score
SCORE = "Why this score"
SCORE_QUESTION = "Which word is the score of this picture made of, and which part of the picture?"
SCORE_GUESS_INFO = "Write down a word before you look."
SCORE_DO = "Look inside the score"
SCORE_EMPTY = ("Each word is left out, and each cell of the picture covered with grey together "
               "with those around it; how far the score of CLIP falls is what they were worth.")
SCORE_SOURCE = ("Source: Li et al. (2016), section 2, leaves words out; Zeiler and Fergus (2014), "
                "section 4.2, covers pictures with a grey square.")
SCORE_WHOLE = "CLIP score {}"
SCORE_MOST = ("“{}” is worth most of the words, {}; of the cells it is the one in row {}, "
              "column {}, {}.")
SCORE_MOST_CELL = "The cell in row {}, column {} is worth most, {}."
SCORE_TIE = ("What is worth less than {} means nothing: as much comes of shifting the picture by a "
             "hundredth of its side.")
SCORE_WORDS = "What each word is worth"
SCORE_ONE_WORD = ("The prompt has one word, without which nothing would be asked: write what "
                  "stands beside it, or where.")
SCORE_CELLS = "What each cell of the picture is worth"
SCORE_CELL = "Row {}, column {}: worth {}"
SCORE_LEGEND_FOR, SCORE_LEGEND_AGAINST = "speaks for the prompt", "speaks against it"
SCORE_HEAT = "Heat map"
SCORE_PIECES = "The prompt in pieces, as the embedded CLIPs read it"
SCORE_PIECES_INFO = ("A word that no training caption had is underlined; CLIP guesses it from "
                     "words of like meaning.")
SCORE_PIECE = "Token {}"
SCORE_UNKNOWN = "no training caption had it"

# Codes
CODES = "Codes"
CODES_QUESTION = ("The VQGAN writes a picture as a grid of codes. How many different ones does "
                  "this one take, and what happens around a code that is changed?")
CODES_GUESS_INFO = "A number from 1 to 256, before you look."
CODES_DO = "Read the codes"
CODES_EMPTY = ("Each code stands for what a patch shows; the picture is drawn again from the "
               "codes alone.")
CODES_SOURCE = ("Source: Esser et al. (2021), section 3.1; codes on a fixed grid: Mentzer et al. "
                "(2023), section 3.")
CODES_DISTINCT = ("{} code in all {} places, of {} that there are",
                  "{} different codes in {} places, of {} that there are")
CODES_PSNR = ("What is drawn from them has a PSNR of {} dB; photographs compressed as JPEG "
              "usually have 30 to 50.")
CODES_LEVELS = "A code is {} channels of {} levels each: {} = {}."
CODES_MEANS = ("PSNR is the peak signal-to-noise ratio, by the mean squared error of the pixels: "
               "the more, the nearer. Any picture is squeezed into a square and read anew, those "
               "of Easel too.")
CODES_READ = "What is read, {} px"
CODES_DRAWN = "Drawn from the codes"
CODES_LOST = "What is lost, {} times as strong"
CODES_MAP = ("{} × {} codes: the same code has the same colour, but like colours can be different "
             "codes")
CODES_CELL = "Row {}, column {}: code {}"
CODES_PRESS = "Press a code to see what it is."
CODES_NUMBER = "Code {} in row {}, column {}"
CODES_NOW = "Row {}, column {}: code {}, in the place of the one that was read"
CODES_DIGITS = ("Its digits are {}, one a channel: they say to which level the VQGAN has rounded "
                "it.")
CODES_TIMES = "Places where it stands: {}."
CODES_BACK, CODES_RESET = "Put back code {}, which was read here", "Put back all codes"
CODES_PATCH = "The code with those around it"
CODES_NEAREST = "The nearest codes, and what this place would show: press one to put it there"
CODES_DISTANCE = ("Under each number stands how far its latent is from this one’s; one digit up or "
                  "down is {}.")
CODES_DISTANCE_LEARNED = "Under each number stands how far its vector is from this one’s."
CODES_FURTHEST = "The code that is furthest from it"
CODES_HERE = "stands here"
CODES_PUT = "Put code {} there"
CODES_CHANGED = "The picture with codes exchanged: {}"

# A patch discriminator, in Codes
PATCHES = "Real or drawn"
PATCHES_QUESTION = "Where would someone see that a picture was drawn from codes?"
PATCHES_GUESS_INFO = "Name a part of the picture, before you look."
PATCHES_DO = "Judge the patches"
PATCHES_EMPTY = ("A discriminator looks at one small patch after the other, of the picture and of "
                 "what is drawn from its codes, and says of each whether it looks real.")
PATCHES_SOURCE = ("Source: PatchGAN: Isola et al. (2017), section 3.2.2; beside a VQGAN: Esser et "
                  "al. (2021), section 3.1 (taming-transformers).")
PATCHES_MEANS = "Mean logit {} for the picture, {} for its codes drawn"
PATCHES_SHARES = ("A logit is its figure for a patch: above 0 the patch looks real, below 0 "
                  "drawn, and the paler it is, the less sure. {} of the picture’s patches look "
                  "real, and {} of those drawn from the codes.")
PATCHES_SEEN = ("Each patch has {} px a side. Edges and small things give away what was drawn; "
                "plain ground says little.")
PATCHES_ALONE = ("A VQGAN is trained against such a discriminator; the embedded one was not: this "
                 "discriminator was trained after the VQGAN, and the VQGAN never heard it. It "
                 "knows rendered scenes of Easel’s world, few photographs among them, and what the "
                 "VQGAN draws of those. Pictures that Easel drew look real to it on average as "
                 "well: a third network, the upscaler, has enlarged and sharpened those of unCLIP "
                 "and VQGAN+CLIP since, and another VQGAN draws DALL·E’s, layer by layer.")
PATCHES_RIGHT = ("Of scenes that it never saw it takes {} of the patches for what they are; a "
                 "guess would have 50 %.")
PATCHES_MAP = "Real/fake map"
PATCHES_WALK = "Walk over either picture with the pointer or the arrow keys."
PATCHES_REAL, PATCHES_FAKE = "looks real", "looks drawn from codes"
PATCHES_CELL = "Row {}, column {}: logit {}"
PATCHES_ALT = "{}: mean logit {}"

# A mask, of Mix and of Complete
MASK_TITLE = "Mask over the picture"
MASK_SHAPES = "Upper half", "Left half", "Checkerboard"
MASK_NOTHING, MASK_INVERT = "Nothing", "Invert"
MASK_CELL = "Row {}, column {}"
MASK_PAINT = "Paint over the picture, or walk with the arrow keys and press Enter."
MASK_UPLOAD = "Or a mask of yours: black stays, white or transparent does not"

# Mix
MIX = "Mix"
MIX_QUESTION = "Two pictures share one grid of codes: do they meet at a sharp edge?"
MIX_GUESS_INFO = "Yes or no, before you look, and how far from the edge the picture changes."
MIX_MASK = "What is clear keeps the codes of the first picture; what is covered takes the second’s."
MIX_NO_SECOND = "There is no second picture: choose one first."
MIX_DO = "Mix the codes"
MIX_EMPTY = ("The codes of two pictures are put into one grid along a mask and drawn together, "
             "beside the two pictures cut along the same mask and pasted.")
MIX_SOURCE = "Source: Esser et al. (2021), section 3.1."
MIX_COUNT = ("{} code of the first picture, {} of the second",
             "{} codes of the first picture, {} of the second")
MIX_PSNR = ("Drawn together and pasted have a PSNR of {} dB with each other: the decoder draws "
            "each patch with an eye to the codes around it, so it blends what meets and shifts the "
            "rest a little.")
MIX_READ = "Both pictures are squeezed into a square and read anew, those of Easel too."
MIX_ONE, MIX_OTHER = "The first picture’s codes", "The second picture’s codes"
MIX_TOGETHER, MIX_PASTED = "Mixed codes, drawn together", "Cut and pasted"
MIX_DIFFERENCE = "Where they differ, {} times as strong"

# One stream
STREAM = "One stream"
STREAM_QUESTION = ("Which block of the picture surprised the transformer most when it was "
                   "written, and how much is the caption worth?")
STREAM_GUESS_INFO = ("Say where, before you look: the ground is written first, then each thing, "
                     "row by row from the top left.")
STREAM_DO = "Read the stream"
STREAM_EMPTY = ("DALL·E’s transformer reads the caption and writes a plan, then the codes of the "
                "ground and of each thing by itself, in blocks of 2 × 2. Of every block it says "
                "how likely it is there, after all before it; surprise is minus the logarithm of "
                "the likelihood of what stands there.")
STREAM_SOURCE = ("Source: Ramesh et al. (2021), section 2; guidance: Ho and Salimans (2022), "
                 "section 3.2; the likeliest blocks by a beam of 16: Sutskever et al. (2014), "
                 "section 3.2; attention: Vaswani et al. (2017), section 3.2.")
STREAM_FIGURE = "A surprise of {} nats with “{}”"
STREAM_TOTAL = "All blocks together: {} nats with this caption, {} without one."
STREAM_NATS = ("A nat measures surprise by the natural logarithm: what was sure surprises by 0, "
               "one chance in two by 0.69, one in a hundred by 4.61. A block is four codes of {} "
               "each, so even the likeliest may have a small chance.")
STREAM_MOST = "The most surprising one: {}, {} nats."
STREAM_AT = "row {}, column {} {}"
STREAM_FIRST = "First stands the one to which the caption adds most."
STREAM_FIRST_MOST = "It stands first, as the caption makes no block much likelier."
STREAM_REREAD = ("These codes were read of the picture, which DALL·E did not write here: it was "
                 "taken for one thing that fills it, before a white ground. They are others than "
                 "DALL·E would write, and surprise it far more. A picture by DALL·E shows its own "
                 "plan and codes, written again from its seed.")
STREAM_WRITTEN = ("DALL·E wrote this picture: these are its own plan and codes, written again "
                  "from its seed.")
STREAM_PICTURE = "The layers put together as the plan says"
LAYER_GROUND, LAYER_THING = "Ground", "Thing {}"
LAYER_DRAFT, LAYER_FINISHED = "Thing {}, draft", "Thing {}, finished"
LAYER_OF_GROUND, LAYER_OF_THING = "of the ground", "of thing {}"
LAYER_OF_DRAFT, LAYER_OF_FINISHED = "of the draft of thing {}", "of thing {}, finished"
STREAM_DRAWS = ("“As it is drawn” says how likely a block is when DALL·E draws: guidance makes "
                "more of what the caption adds, a temperature below 1 makes the likely likelier "
                "still, and what is beyond Top k or Top p is left out. A block that is likely by "
                "the caption may so become unlikely, where it is likely without one as well.")
STREAM_MAP = "Map of surprise"
STREAM_LEGEND = "the more surprising, the stronger; strongest colour: {} nats"
STREAM_CELL = "Row {}, column {} {}: {} nats"
STREAM_WALK = "Walk over the blocks, by pointer or by arrow keys."
STREAM_PLACE = "Row {}, column {} {}: what might have stood there"
STREAM_SURE = ("A surprise of {} nats: the transformer gave {} to the block that stands here, "
               "more than to all others together.")
STREAM_MANY = ("A surprise of {} nats: this block is the likeliest, but others could have stood "
               "here as well, so that it has {} alone.")
STREAM_OTHER = "A surprise of {} nats: the transformer gave {} to this block and {} to another."
STREAM_OWN, STREAM_RANK = "in the picture", "likeliest {}"
STREAM_BLOCK, STREAM_WITH, STREAM_WITHOUT = "Block", "with caption", "without"
STREAM_LEFT = "as it is drawn"
STREAM_ODDS = "1 in {}"

PLAN = "The plan"
PLAN_TOKEN, PLAN_WRITTEN, PLAN_OTHERS = "Token", "Written", "likeliest others, with caption"
PLAN_KINDS = "Style", "Background", "column", "row", "side", "way"
PLAN_OF_THING = "Thing {}, {}"
PLAN_WAYS = "at once", "at once, mirrored", "drafted", "drafted, mirrored"
PLAN_SET = "{}, set by an option"
PLAN_END = "no further thing"
PLAN_TOTAL = "All tokens together: {} nats with this caption, {} without one."
PLAN_INFO = ("Things come in the order in which the caption names them; columns, rows and sides "
             "are in sixteenths of the picture, counted from 0 at the top left. The plan is drawn "
             "as it is likely, without guidance, among what fits: things stand within the picture "
             "and apart.")

LOOKED = "Where each word was looked at"
LOOKED_INFO = ("The attention of the whole transformer together, the maps of a word scaled to "
               "their own most. It says where the transformer looked, not why it chose (Jain and "
               "Wallace, 2019); the words of a thing are looked at most in its own layer. The "
               "pieces of a word count together.")
LOOKED_MAP, LOOKED_LAYER = "{}, {} at most", "{}, {}: {} at most"
LOOKED_BLOCK = "What was looked at for this block"
LOOKED_REST = ("On the plan {}, on the codes before it {}, and {} on the marks that begin and end "
               "the caption, where attention rests that looks for nothing.")

# Complete
COMPLETE = "Complete"
COMPLETE_QUESTION = "What will the transformer write under the upper half of this picture?"
COMPLETE_GUESS_INFO = "Say what, before you look, and whether it will be the same each time."
COMPLETE_MASK = "What is clear stays; what is covered is written by DALL·E’s transformer."
COMPLETE_COUNT = "Completions"
COMPLETE_DO = "Complete the picture"
COMPLETE_EMPTY = ("The plan and some of the picture’s codes stay, and the transformer writes the "
                  "others after the prompt, one completion a seed.")
COMPLETE_SOURCE = ("Source: Ramesh et al. (2021), section 2; completing pictures: Chen et al. "
                   "(2020), section 3.")
COMPLETE_FIGURE = "{} of {} codes written"
COMPLETE_OWN = ("DALL·E wrote this picture: its plan and codes were written again from its seed. "
                "The plan stays, and so does each code of its ground and its things of which at "
                "least half of what it covers is to stay.")
COMPLETE_REREAD = ("DALL·E did not write this picture here: it was squeezed into a square and read "
                   "as one thing that fills it, before a white ground, in codes that the "
                   "transformer expects less, so that what it adds may match them less.")
COMPLETE_ORDER = ("The ground is written first, then each thing, row by row from the top left: a "
                  "place goes by the prompt, the plan and what was written before it, and never "
                  "sees what stays below.")
COMPLETE_PICTURE, COMPLETE_STAYS = "The picture of its codes", "What stays"
COMPLETE_ONE = "Completion {}, seed {}"

# The loop
LOOP = "The loop"
LOOP_QUESTION = ("VQGAN+CLIP trains nothing while it draws. After how many steps can one see what "
                 "the picture is to be, and does it become better for as long as CLIP is more "
                 "pleased?")
LOOP_GUESS_INFO = "A number of steps, before you look."
LOOP_OTHER = "Second prompt"
LOOP_OTHER_INFO = "Drawn from the same seed beside the first; empty for none."
LOOP_STEPS, LOOP_CUTOUTS, LOOP_SEED = "Steps", "Cutouts", "Seed"
LOOP_SEED_INFO = "The same seed draws the same picture again."
LOOP_FROM = "Drawn from seed {}, as the field “{}” says."
LOOP_CUTOUTS_INFO = ("Parts that CLIP looks at in each step; 1 is the whole picture, which the "
                     "embedded guide looks at.")
LOOP_DO = "Watch the loop"
LOOP_EMPTY = ("The latents of the VQGAN are moved step by step, so that CLIP finds the picture "
              "nearer to the prompt; some of the steps are shown.")
LOOP_SOURCE = "Source: Crowson et al. (2022), section 3; several cutouts: section 3.2."
LOOP_LOSS = "Loss from {} to {} in {} steps; the nearer to the prompt, the smaller"
LOOP_CELL = "Step {}, codes changed: {}"
LOOP_STEP = "Step {} of {}"
LOOP_WALK = "Walk over the steps, by pointer or by arrow keys."
LOOP_PICTURE = "The picture"
LOOP_SEEN, LOOP_SEEN_WHOLE = "What CLIP sees of it, parts: {}", "What CLIP sees of it, the whole"
LOOP_PULL = "How strongly the loss pulls at each place"
LOOP_WANTED = "The change that it asks for, around grey"
LOOP_CHANGED = "Codes that changed since the step shown before: {} of {}"
LOOP_FIRST = "The first step: no code has changed yet"
LOOP_DISTANCE, LOOP_WEIGHED = "“{}”: distance {}", "“{}”, weight {}: distance {}"
LOOP_LINE = "Distance to “{}”"
LOOP_JUDGED = ("Cosine by the ranker, another CLIP, which does not guide: from {} to {}. What fits "
               "has about 0.6.")
LOOP_MEANS = ("The distance is half the square of the angle between the two embeddings: 0 where "
              "they point the same way, 1.23 at a right angle.")
LOOP_COSINE = "Cosine by the ranker: {}"
LOOP_JUDGE_LINE = "Cosine with “{}” by the ranker"

# Prior
PRIOR = "Prior"
PRIOR_QUESTION = ("Why not draw from the caption’s own embedding: does the prior bring it to "
                  "another place, and is the picture better for it?")
PRIOR_GUESS_INFO = "Yes or no, before you look, and where to."
PRIOR_DO = "Follow the prior"
PRIOR_EMPTY = ("unCLIP’s prior leads from noise to an image embedding of the caption, and the "
               "decoder draws from it. The way is shown in a plane, and the picture beside one "
               "without the prior.")
PRIOR_SOURCE = ("Source: Ramesh et al. (2022), sections 2 and 5.1; guidance: Ho and Salimans "
                "(2022), section 3.2; the plane: Pearson (1901).")
PRIOR_COSINE = "The prior ends at a cosine of {} with the caption’s own embedding"
PRIOR_PLANE = ("The plane is that of the two directions in which {} captions, {} pictures "
               "rendered of the world that Easel learned from, and {} pictures by Easel differ "
               "most; {} % of how they differ lies in it. At a cosine of 1 two embeddings are the "
               "same.")
PRIOR_PAIRED = ("With its own caption a rendered picture has a cosine of {} on average, a picture "
                "by Easel one of {}.")
PRIOR_OTHERS = "Other captions"
PRIOR_RENDERED_ALL, PRIOR_DRAWN_ALL = "Rendered pictures", "Pictures by Easel"
PRIOR_RENDERED, PRIOR_DRAWN = "Rendered: {}, {}", "Drawn by Easel: {}, {}"
PRIOR_ON, PRIOR_OFF = "Picture with the prior", "Picture without the prior"
PRIOR_SEEN = "Cosine with the caption by the guide CLIP: {}"
PRIOR_RANKED = "By the ranker: {}"
PRIOR_JUDGE = ("All cosines here are by the guide, the CLIP that unCLIP draws for: it is pleased "
               "with what it asked for. The ranker, which puts pictures in order elsewhere, is "
               "another one and may not be.")
PRIOR_CAPTION, PRIOR_CHOSEN = "The caption", "The chosen picture"
PRIOR_START = "The prior’s first step, from noise"
PRIOR_STEPS, PRIOR_STEP = "The prior’s steps, the last one", "Step {} of the prior: {}"
PRIOR_LEGEND = "Cosine with the caption’s own embedding:"
PRIOR_DRAWING = ("Embeddings in a plane: other captions, pictures, the prior’s steps, and what "
                 "they lead to")
PRIOR_GUIDANCE = "Guidance, step by step"
PRIOR_CELL = "Step {} of the decoder"
PRIOR_TOLD, PRIOR_UNTOLD = "Foreseen when told the caption", "Foreseen when told nothing"
PRIOR_DIFFERENCE, PRIOR_GUIDED = "Where they differ", "What guidance makes of both"

# Contrastive
CONTRAST = "Contrastive"
CONTRAST_QUESTION = ("Each picture has its text. When two texts change places, by how much does "
                     "the loss rise, and is that more at a low temperature or at a high one?")
CONTRAST_GUESS_INFO = "Low or high, before you look."
CONTRAST_PICTURES = "Pictures, 2 to 12"
CONTRAST_TEXTS, CONTRAST_TEXTS_INFO = "Their texts", "One a line, in the order of the pictures."
CONTRAST_TEMPERATURE = "Temperature"
CONTRAST_TEMPERATURE_INFO = "Similarities are divided by it. CLIP’s training began with 0.07."
CONTRAST_DO = "Compare the pairs"
CONTRAST_EMPTY = ("CLIP is trained on batches of pairs: each text has to find its picture among "
                  "all of them, each picture its text, and the loss says how far it is from that.")
CONTRAST_SOURCE = "Source: Radford et al. (2021), section 2.3 and figure 3."
CONTRAST_LOSS = "Loss {} nats"
CONTRAST_PARTS = ("Minus the natural logarithm of the percentages on the diagonal is on average "
                  "{} for the texts (rows) and {} for the pictures (columns); the loss is the "
                  "mean of both.")
CONTRAST_NATS = ("In nats, as the logarithm is the natural one: 0 where each finds its own for "
                 "sure, {} where one of {} is guessed.")
CONTRAST_TRAINED = "At a temperature of {}; the one that this CLIP has learned is {}."
CONTRAST_BEFORE = "With each text in its picture’s place the loss would be {} nats."
REPLAY = "While it learned"
REPLAY_INTRO = ("A small CLIP was trained from nothing, on batches of {} pairs and by this loss "
                "alone. It did not learn from these {} pairs: at eight moments it was asked about "
                "them as it stood then, and its answers were kept, so that no model runs here. "
                "Who guesses has a loss of {} nats. It was asked by these captions, word for word.")
REPLAY_MOMENT = "Moment of the training"
REPLAY_MOMENT_INFO = "1 is before the first step, 8 after the last."
REPLAY_OWN = "Its own temperature"
REPLAY_OWN_INFO = "The one that it had learned by then; without the tick, one of your choice."
REPLAY_HEAD = "After {} steps, {} pictures seen"
REPLAY_TRAINED = "At a temperature of {}; the one that it had learned by then is {}."
REPLAY_BATCH = "In training the loss was {} nats at that time, with {} pairs to choose from."

"""What the path through the models says: eight lessons in the order of a course."""

PATH = "The path"
PATH_INTRO = ("Eight lessons over what this page can show, in about forty minutes. Answer each "
              "question before you press anything; then look. An address such as ?lesson=4 opens "
              "one of them.")
PATH_PRINT = "Print the lessons"
PATH_NUMBER = "Lesson {}"
PATH_DO, PATH_SEE = "What to do", "What one sees"
PATH_GO = "Go to {}"
PATH_NOTEBOOK = "The same in Python: {}"
# Of each its title, the question, what to do, what one sees, and the source. Places are filled with
# the names of buttons and fields.
PATH_LESSONS = (
    ("Pairs against pairs",
     "Four pictures and four texts belong together. Two of the texts change places: by how much "
     "does the loss rise, and is that more at a low temperature or at a high one?",
     "Press “{}” with the pairs that are there. Exchange two lines under “{}” and press it again. "
     "Then move “{}”, down to 0.02 and up to 1. Last, open “{}” and move “{}” from 1 to 8.",
     "With right pairs the loss is near 0; two wrong ones raise it to several nats, and the more "
     "the lower the temperature, since the softmax is surer then. At a temperature of 1 right and "
     "wrong are not far apart: the loss nears that of a guess, the natural logarithm of the number "
     "of pairs (hence nats), 1.39 for four. CLIP learned from nothing else than this, on batches "
     "of many more pairs. The small one that you saw learning has colours first: after 6,400 "
     "pictures the green apple and the blue car are found, while the red car is taken for the red "
     "apple. After 106,240 apples, cars, banana and house have their pictures; cat, dog, bicycle "
     "and guitar do not, nor does it count.",
     "Source: Radford et al. (2021), section 2.3 and figure 3."),
    ("Names for pictures",
     "CLIP was never told a list of things to tell apart. What will it say of a dog when cat and "
     "human are all that it may choose from?",
     "Press “{}” and look at the three answers. Then take the dog’s label away from “{}” and press "
     "“{}”. A picture of your own will do as well.",
     "Each label becomes a sentence, and the sentence that is nearest to the picture wins. The "
     "probabilities always add up to 1, since the softmax goes over the labels that there are: it "
     "has no place for “none of these”, so the least wrong label can look quite sure.",
     "Source: Radford et al. (2021), section 3.1."),
    ("Looking for pictures",
     "Nobody wrote anything beside these pictures. How can one be found by words, and what is "
     "“a cat” without “black”?",
     "Press “{}”, which looks for a black cat among them. Then write “a cat” or another thing "
     "under “{}”, or a word under “{}”, and press “{}”.",
     "Texts and pictures are vectors of the same space, so that a search is sorting by the cosine. "
     "What stands under “{}” is taken off what is looked for, and a picture falls the more it is "
     "like that. Something is always first, even where nothing fits well: here “a cat” brings a "
     "giraffe before the cats, “a black cat” the black one.",
     "Source: Radford et al. (2021), section 2.3; by a text and by a picture: appendix E.1."),
    ("A picture in numbers",
     "The VQGAN writes a picture as 16 × 16 numbers. How many of them differ, and what happens "
     "around a number that is changed?",
     "Press “{}”, guess the number of codes first. Press one in the map, look at its neighbours, "
     "and put the code that is furthest from it in its place. Open “{}” and press “{}”. Then let "
     "two pictures share a grid under “{}”.",
     "Fewer codes differ than there are places, about a hundred in the pictures that are here, "
     "because plain ground takes the same ones again and again. A code that is changed changes its "
     "patch, and a little of those around it, since the decoder looks beyond the patch; two "
     "pictures in one grid blend where they meet. What is lost in between is small things and "
     "edges, and it is there that a discriminator sees what was drawn.",
     "Source: Esser et al. (2021), section 3.1; the discriminator: Isola et al. (2017), section "
     "3.2.2."),
    ("Steps up a hill",
     "VQGAN+CLIP trains nothing. Where does the picture come from then, and does it become better "
     "for as long as its score rises?",
     "Press “{}” and walk over the steps. Then write something else under “{}”, which is drawn "
     "from the same seed, and press it again.",
     "The picture is improved step by step: the gradient of CLIP’s score moves the latents. The "
     "curve is steep at first and flat later, and the shape of the thing is there early. That the "
     "CLIP which guides is pleased in the end says little, since the picture was made to please "
     "it. Whether it became better another CLIP has to say, the ranker, whose score stands under "
     "what VQGAN+CLIP draws in Generate.",
     "Source: Crowson et al. (2022), section 3."),
    ("One word after another",
     "DALL·E writes a picture as one writes a sentence. Which part of it surprised the "
     "transformer most, and how much is the caption worth?",
     "Press “{}” and walk over the blocks. Then write another caption under “{}”, one that the "
     "picture does not show, and press it again. Then let it go on with half of the picture under "
     "“{}”.",
     "At each block the transformer says how likely every block is there; what is unlikely "
     "surprises. With the right caption all of it together surprises less than without one, with a "
     "wrong caption more than without: the difference is what the caption is worth. The word of a "
     "thing is looked at most where the thing begins. Where the picture was uploaded the codes are "
     "not those that DALL·E would write, and all figures are higher. What it adds to a half goes "
     "by the caption and by what stands before, never by what comes later.",
     "Source: Ramesh et al. (2021), section 2.2."),
    ("What the prior is for",
     "A text and a picture of it both have an embedding by CLIP, in the same space. Why not draw "
     "from the text’s own?",
     "Press “{}”. Where does the way of the prior end, and how do the two pictures differ? Take "
     "another of the pictures above and press it again. For more pictures let both panes of "
     "Compare be unCLIP, and take the tick from “{}” in one of them.",
     "In the paper, pictures were better with the prior, which makes of a text’s embedding one "
     "that a picture could have. Here it ends next to the caption’s own embedding, as the CLIP "
     "whose captions it reads was trained to say just that, and there is little to gain: of twelve "
     "prompts, eight pictures each, eleven were drawn about as well without it. The twelfth is the "
     "one that stands here first, and it loses: with the prior the blue car is hardly one, its "
     "wheels blurred or gone in all eight, and the ranker gives 0.03 on average, without the prior "
     "0.50. One prompt says little, in either direction; a switch that a paper needs may be worth "
     "little in another model.",
     "Source: Ramesh et al. (2022), sections 2.2 and 5.1."),
    ("The best of many",
     "You have several pictures of one prompt. Would CLIP choose the one that you would, and how "
     "much does choosing help?",
     "Draw some pictures in Generate, and write down which you find the best. In Rerank choose "
     "“{}” under “{}” and press “{}”. Then write under “{}” what you do not want to see.",
     "The order is that of the mean cosine with the prompts, in which what should not be there "
     "counts against a picture. Choosing can help only as far as the pictures differ: where all of "
     "them are nearly one picture, the best of many is hardly better than the first.",
     "Source: Ramesh et al. (2021), section 2.6."),
)

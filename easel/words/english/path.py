"""What the path through the models says: eight lessons in the order of a course."""

from easel.words.english import inside as _inside

PATH = "The path"
PATH_INTRO = ("Eight lessons over what this page can show: half an hour, without what stands "
              "under “To go further”. Answer each question before you press anything; then look. "
              "An address such as ?lesson=4 opens one of the lessons.")
PATH_PRINT = "Print the lessons"
PATH_NUMBER = "Lesson {}"
PATH_DO, PATH_SEE, PATH_FURTHER = "What to do", "What one sees", "To go further"
PATH_GO = "Go to {}"
PATH_NOTEBOOK = "The same in Python: {} in Easel’s folder; docs/guide.md says how to open it."
PATH_NEXT, PATH_BACK, PATH_LEAVE = "Next: lesson {}", "Back to the lesson", "Close the lesson"
PATH_WORDS = "Words and names, in a sentence each"
# Of each word what it means.
PATH_MEANINGS = (
    ("Embedding",
     "A list of numbers that stands for a text or a picture; what means something alike has "
     "numbers that are alike."),
    ("Cosine",
     "How far two embeddings point the same way: 1 is the same direction, 0 has nothing in "
     "common, and below 0 they point away from each other."),
    ("CLIP",
     "Two networks, one for texts and one for pictures, that give what belongs together "
     "embeddings with a large cosine. Easel has several: the guide, which helps to draw; the "
     "ranker, which only judges; and the photo CLIP."),
    ("Loss",
     "One number that says how wrong something still is; to train a network is to make it "
     "smaller. Each task has a loss of its own."),
    ("Softmax and temperature",
     "The softmax makes of figures probabilities that add up to 1. The figures are divided by a "
     "temperature first: the lower it is, the surer the probabilities."),
    ("Gradient",
     "Of a loss: how it changes with each of many numbers, and so which way to move them."),
    ("VQGAN",
     "A vector-quantised generative adversarial network: an encoder writes a picture as a grid "
     "of codes, numbers from a fixed list, and a decoder draws it again from them. In the paper "
     "a discriminator trains with it, a network that tells drawn patches from real ones."),
    ("Latents",
     "The numbers between the encoder and the decoder, before they are rounded to codes."),
    ("Transformer",
     "A network that reads a row of tokens, here words and codes, and says how likely each next "
     "one is. Its attention says how much it takes from each token before. DALL·E is one that "
     "has a plan and a VQGAN’s codes follow the words."),
    ("unCLIP",
     "Draws the other way round, from an embedding to a picture: a prior makes the embedding of "
     "a picture out of a text, and a decoder takes noise away until a picture is left that has "
     "it."),
    ("Guidance",
     "The model is asked twice, with the caption and without it; guidance takes the difference of "
     "the two answers and exaggerates it."),
)
# Of each its title, the question, for a view of Inside that view's own, what to do, what to do who
# has more time, what one sees, the source, and what one sees who did more; empty for nothing.
# Places are filled with the names of buttons and fields.
PATH_LESSONS = (
    ("Pairs against pairs",
     _inside.CONTRAST_QUESTION,
     "Press “{}” at a temperature of 0.07 and with each text in its picture’s place. Exchange the "
     "first two lines under “{}” and press it again. Move “{}”, down to 0.02 and up to 1.",
     "Put the two lines back and exchange others. Then open “{}” below and move “{}” from 1 to 8: "
     "what does a CLIP learn first?",
     "The loss is minus the natural logarithm of the diagonal, on average. At 0.07 it is near 0 "
     "for the right pairs, and two wrong ones raise it to more than 4 nats; at 0.02 to more than "
     "14, since the softmax is surer then. At 1 the wrong ones have 1.4, and the right ones "
     "would have 1.1: even they come near a guess, 1.39, the natural logarithm of the number of "
     "pairs. CLIP learned from nothing else than this, on batches of many more pairs, and the "
     "temperature along with it.",
     "Source: Radford et al. (2021), section 2.3 and figure 3.",
     "Two wrong lines cost less where each picture is less far from the other’s text: the last "
     "two about 2 nats. The small CLIP that you can see learning has colours first: after 6,400 "
     "pictures the green apple and the blue car are found, while the red car is taken for the "
     "red apple. After 106,240 apples, cars, banana and house have their pictures; cat, dog, "
     "bicycle and guitar do not, nor does it count."),
    ("Names for pictures",
     "CLIP was never told a list of things to tell apart. What will it say of a dog when cat and "
     "human are all that it may choose from?",
     "Press “{}” and look at the three answers. Open “{}”: it holds the sentence that each label "
     "is put into. Then take the dog’s label away from “{}” and press “{}”.",
     "Take pictures of your own, or labels that none of these pictures fits.",
     "The label becomes a sentence, “a picture of a cat”, and the sentence that is nearest to the "
     "picture wins. The probabilities always add up to 1, since the softmax goes over the labels "
     "that there are: it has no place for “none of these”, so the least wrong label can look "
     "quite sure. The dog is taken for a cat; it counts as neither right nor wrong, as its name "
     "is no longer a label. The logit scale there, 26.98, is 1 divided by the temperature that "
     "this CLIP has learned, 0.037.",
     "Source: Radford et al. (2021), section 3.1.",
     ""),
    ("Looking for pictures",
     "CLIP reads neither the names of these pictures nor anything written beside them. How can one "
     "be found by words, and what is “a cat” without “black”?",
     "Press “{}”, which looks for a black cat among them. Write “a cat” under “{}” and press “{}”. "
     "Then write “black” under “{}” and press it again: where does the black cat go?",
     "Look for things that no picture shows. What is the first figure then?",
     "Texts and pictures have embeddings in the same space, so a search sorts by the cosine. For "
     "a text that says all that a picture shows this CLIP has about 0.6, and less where it says "
     "less. Something is always first, and a high figure is no proof: “a black cat” brings the "
     "black one, but “a cat” a giraffe, with 0.60, a red dog and a lion before the first cat. "
     "What stands under “{}” is taken off what is looked for: the black cat falls from the "
     "fourth place below the tenth, and the orange cat rises to the third. First is again a "
     "picture with a giraffe, since a difference of two embeddings is a direction in which it "
     "may lie as well.",
     "Source: Radford et al. (2021), section 2.3; by a text and by a picture: appendix E.1.",
     ""),
    ("A picture in numbers",
     _inside.CODES_QUESTION,
     "Press the first small picture, guess the number of codes and press “{}”. Press one in the "
     "map: what it is stands below the pictures. Put the code that is furthest from it in its "
     "place.",
     "Open “{}” and press “{}”. Let two pictures share a grid under “{}”: do they meet at a sharp "
     "edge?",
     "Fewer codes differ than there are places, 59 to 131 in the pictures that are here, since "
     "plain ground repeats its own. A changed code changes its patch most, and those around it a "
     "little, the less the farther away, since the decoder looks beyond the patch. What is lost "
     "is small things and edges.",
     "Source: Esser et al. (2021), section 3.1; the discriminator: Isola et al. (2017), section "
     "3.2.2.",
     "It is at small things and edges that a discriminator sees what was drawn. Two pictures in "
     "one grid blend where they meet, since the decoder looks beyond each patch."),
    ("Steps up a hill",
     _inside.LOOP_QUESTION,
     "Press the first small picture, then “{}”. Look at the first step, one in the middle and the "
     "last: at the wheels of the car, and at the curve of the ranker, a CLIP that does not guide.",
     "Write something else under “{}”, which is drawn from the same seed. Or draw the prompt in "
     "Generate by VQGAN+CLIP, with more steps.",
     "It starts as a plain field of latents, which the gradient of the loss, the distance between "
     "picture and prompt by CLIP, moves step by step. The distance falls from 0.27 to 0.01, and "
     "by the ninth of 32 steps one can see what it is to be. But the car has no proper wheels in "
     "the end: the picture was made to please the CLIP that guides. The ranker rises as well, "
     "hardly in the second half, and ends below 0.3, where pictures that fit have about 0.6: the "
     "picture becomes better, far less than the guide says.",
     "Source: Crowson et al. (2022), section 3.",
     ""),
    ("One word after another",
     _inside.STREAM_QUESTION,
     "Press the first small picture, then “{}”. Read the plan, and walk over some blocks of the "
     "ground and of the things. Write “three bananas” under “{}” and press it again.",
     "Let it go on with half of the picture under “{}”, which takes the caption that is there: put "
     "the right one back, or keep the wrong one. Then press “{}” below the mask, so that the lower "
     "half stays.",
     "First comes a plan: the caption all but decides the ground, and leaves open where things "
     "stand. Then, at each block, the transformer says how likely every block is there; what is "
     "unlikely surprises. With the right caption the whole surprises less than without one, with "
     "“three bananas” more: the difference is what the caption is worth. The drafts surprise "
     "hardly more than the ground: what an apple mostly looks like, and a beach, is known. What "
     "is finished after them, in the colours of the caption, surprises most, since in paint many "
     "codes look nearly alike.",
     "Source: Ramesh et al. (2021), section 2.2.",
     "The words of a thing are looked at most in its own layers. What it adds to a half goes by "
     "the caption, the plan and what was written before, never by what comes later: over a lower "
     "half it writes what may not go with it. A picture that was uploaded is read as one thing "
     "that fills it, in codes that DALL·E would not write, and each block surprises more. A "
     "wrong caption that shares something with the picture can still be worth something."),
    ("What the prior is for",
     _inside.PRIOR_QUESTION,
     "Press the first small picture, then “{}”. Where does the way of the prior end, and how do "
     "the two pictures differ?",
     "Take another of the pictures above. Or let both panes of Compare be unCLIP with several "
     "pictures each, open “{}” in one of them, and take the tick from “{}”.",
     "A decoder learns to draw from embeddings of pictures, and a text’s own is not one: a "
     "rendered picture, of those that Easel learned from, has a cosine of 0.65 with its "
     "caption’s. The prior is a network that makes of random numbers and a text an embedding that "
     "a picture could have; in the paper, pictures were better with it. Here it ends next to the "
     "caption’s own embedding all the same (why, we do not know), and the decoder is told the "
     "caption besides, so there is little to gain. At this prompt it even loses: with the prior "
     "the blue car is hardly one, and the ranker gives the other picture far more. One prompt "
     "says little, in either direction.",
     "Source: Ramesh et al. (2022), sections 2.2 and 5.1.",
     "Of twelve prompts, eight pictures each, eleven were drawn about as well without the prior. "
     "The twelfth is the first one here: by the ranker it has 0.03 on average with the prior, 0.50 "
     "without."),
    ("The best of many",
     "You have several pictures of one prompt. Would CLIP choose the one that you would, and how "
     "much does choosing help?",
     "In Compare press “{}” and tick “{}”, then press “{}”: what drew which picture, and all "
     "figures, stay hidden until you vote. Vote for the one that you find best. What would the "
     "ranker have chosen?",
     "Do it with another prompt as well. Draw some pictures in Generate. In Rerank choose “{}” "
     "under “{}” and press “{}”: the order is the same, as the ranker made both. Then change the "
     "prompt, or write under “{}” the thing itself that you do not want to see.",
     "CLIP chooses the picture with the largest cosine with the prompt; “fit 90 %” says that it "
     "is larger than for 90 of 100 near misses, pictures that miss a part of their prompt. "
     "Choosing can help only as far as the pictures differ. Of four pictures each by DALL·E, "
     "which differ in all that the prompt leaves open, a person who looked at them found a "
     "random one right in 79 %, the one that CLIP chooses in 87 %, and at least one of the four "
     "in 99 %.",
     "Source: Ramesh et al. (2021), section 2.6.",
     "CLIP hardly reads “without”: “a car without wheels” is to it nearly the same as a car with "
     "wheels, so that among what you do not want it lets the good cars fall. Ask for what should "
     "be there instead."),
)

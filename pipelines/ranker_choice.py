"""Which CLIP puts pictures in order where nobody chose one.

A picture that was optimised against a CLIP must not be judged by it. Embedded generators draw a
world of their own, which the embedded ranker was trained to judge; what public ones draw is beyond
its 2,140 word pieces.
"""

from __future__ import annotations

from collections.abc import Collection

from pipelines.core.errors import WeightsError
from pipelines.core.options import AUTO, Options
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import GUIDE, RANKER
from pipelines.models.checkpoints.loading import is_complete
from pipelines.suited import PHOTO_CLIP

# Best first: SigLIP 2 was trained on the most and the best pairs, OpenAI's CLIPs on the fewest; of
# the same training the larger network, or the one that looks at smaller patches.
PREFERRED = ("google/siglip2-so400m-16", "google/siglip2-b-32", "laion/clip-vit-b-32",
             "openai/clip-vit-b-16", "openai/clip-vit-b-32")


def best_ranker(catalogue: Catalogue | None, guides: Collection[str] = ()) -> str:
    """Id of the best public CLIP on this machine that is no guide; else an embedded one."""
    for model_id in PREFERRED:
        if catalogue is not None and model_id not in guides and _is_here(catalogue, model_id):
            return model_id
    return embedded_ranker(guides)


def embedded_ranker(guides: Collection[str]) -> str:
    """Id of the embedded ranker, or of the embedded guide where that one guided alone; the ranker
    too where both did."""
    return GUIDE if RANKER in guides and GUIDE not in guides else RANKER


def best_for_photographs(here: Collection[str]) -> str:
    """Id of the best public CLIP of those on this machine; else the embedded one for photographs.
    """
    return next((model_id for model_id in PREFERRED if model_id in here), PHOTO_CLIP)


def _is_here(catalogue: Catalogue, model_id: str) -> bool:
    try:
        return is_complete(catalogue, catalogue.get(model_id))
    except WeightsError:  # a catalogue of one's own may have no such model
        return False


def resolved_ranker(options: Options, catalogue: Catalogue | None, public: bool,
                    guides: Collection[str] = ()) -> dict[str, str]:
    """What an automatic ranker becomes, as a change of the options; no change otherwise.

    Args:
        options: with a ``ranker``.
        catalogue: which CLIPs are here.
        public: whether the generator is a public checkpoint.
        guides: the CLIPs that the picture is optimised against.
    """
    if getattr(options, "ranker", None) != AUTO:
        return {}
    return {"ranker": best_ranker(catalogue, guides) if public
            else embedded_ranker(guides)}

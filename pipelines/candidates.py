"""The run that generators share: seeds, models, drawing, ranking; each says how it draws."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

import torch

from pipelines.batching import Drawn, Groups
from pipelines.core.errors import Cancelled, WeightsError
from pipelines.core.events import Candidate, Event, Progress, Result
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.model_options import chosen_models, with_choices
from pipelines.models.batches import MEMORY_ERRORS
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.precision import dtype_for
from pipelines.pipeline import Pipeline, RunContext
from pipelines.ranker_choice import resolved_ranker
from pipelines.rerank import rank_candidates
from pipelines.weighted_prompts import ranking_texts

T = TypeVar("T", bound=Options)


class CandidatePipeline(Pipeline):
    """Draws candidates and ranks them. A subclass gives ``draw``, and what else differs.

    Its ``models`` end with the ranker. Where an option of ``model_field`` has one of them as its
    default, a run leases what is chosen there; one with ``AUTO`` chooses the ranker.

    Args:
        catalogue: what the options may choose from; anything where None.

    Attributes:
        in_groups: where the device has no room for all candidates, draw half of them and then the
            others; False for one that sees to that itself.
        is_public: whether it draws with public checkpoints, which a public CLIP judges better.
    """

    in_groups: bool = True
    is_public: bool = False

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self._catalogue = catalogue
        if catalogue is not None:
            self.Options = with_choices(type(self).Options, catalogue)

    def resolve_options(self, options: T) -> T:
        """Decide on the ranker; see ``Pipeline.resolve_options``."""
        ranker = resolved_ranker(options, self._catalogue, self.is_public)
        return options.model_copy(update=ranker)

    def models_of(self, request: CheckedRequest[Any]) -> tuple[str, ...]:
        """The models, with those that the options choose in their places."""
        return chosen_models(request.options, self.models)

    def held(self, request: CheckedRequest[Any]) -> tuple[str, ...]:
        """Ids of the models that are leased from start to end, the ranker last."""
        return self.models_of(request)

    def dtype_of(self, model_id: str, request: CheckedRequest[Any], context: RunContext,
                 ) -> torch.dtype:
        """The dtype to lease a model in, by the option ``precision`` where there is one."""
        return dtype_for(model_id, context.device, context.dtype,
                         getattr(request.options, "precision", "auto"))

    def computed_in(self, request: CheckedRequest[Any], context: RunContext) -> torch.dtype:
        """What the model that draws computes in: what ``precision`` became on this machine."""
        return self.dtype_of(self.models_of(request)[0], request, context)

    def draw(self, request: CheckedRequest[Any], context: RunContext, models: Sequence[Any],
             seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """Draw candidates of some seeds side by side.

        Args:
            request: what to draw.
            context: of the run; once it is cancelled, end early with what there is.
            models: those of ``held``, leased, in that order.
            seeds: one a candidate; what a seed draws does not depend on those beside it.

        Yields:
            ``Progress`` with steps out of a total, and previews of these candidates.

        Raises:
            Cancelled: there is no picture yet.
        """
        raise NotImplementedError

    def rank(self, request: CheckedRequest[Any], context: RunContext, models: Sequence[Any],
             drawn: Drawn) -> tuple[Candidate, ...]:
        """The pictures as candidates, best first."""
        ranked = rank_candidates(drawn.images, drawn.seeds, ranking_texts(request.prompt),
                                 models[-1])
        if not drawn.picture_facts:
            return ranked
        return tuple(replace(c, metadata=drawn.picture_facts[c.index]) for c in ranked)

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        """Yield progress and previews, then the ranked pictures; see ``Pipeline.run``."""
        leases = [(name, self.dtype_of(name, request, context)) for name in self.held(request)]
        for name, dtype in leases:
            yield from context.loading(name, dtype=dtype)
        # All at once: a model that is broken is found before the work, and Stop keeps its pictures
        # without waiting for the ranker.
        with context.leases as stack:
            models: list[Any] = []
            for name, dtype in leases:
                try:
                    models.append(stack.enter_context(context.lease(name, dtype)))
                except WeightsError as error:
                    if len(models) < len(leases) - 1:
                        raise
                    # Nobody may have chosen it: "auto" takes the best whose files are there.
                    raise WeightsError("{} It was to put the pictures in order: choose another "
                                       "ranker.", error.sentence) from None
            context.check()
            groups = Groups(request.seeds, context, self.in_groups)
            while seeds := groups.next_seeds():
                with closing(self.draw(request, context, models, seeds)) as events:
                    try:
                        while True:
                            yield groups.of_the_whole(next(events))
                    except StopIteration as end:
                        groups.finish(end.value)
                    except (Cancelled, *MEMORY_ERRORS) as error:
                        if not groups.survive(error):
                            raise
                if groups.full:
                    yield groups.shrink()
            drawn = groups.drawn()
            yield Progress(drawn.step, drawn.total, context.elapsed_s(), "Ranking.")
            candidates = self.rank(request, context, models, drawn)
            facts = drawn.metadata()
            if "precision" in type(request.options).model_fields:
                facts["computed_in"] = str(self.computed_in(request, context)).split(".")[-1]
        yield Result(candidates, context.elapsed_s(), facts)

"""Ray Serve's way to the number of runners: it takes the desk's word for it."""

from __future__ import annotations

from typing import Any

WANTED = "wanted"  # what a runner says the desk has told it


def obey(context: Any) -> tuple[int, dict[str, Any]]:
    """As many runners as the desk has told those that there are; the most of what they have heard.

    Serve asks its controller, which knows of the line only what runners say in
    ``Runner.record_autoscaling_stats``.

    Args:
        context: Ray's ``AutoscalingContext``.
    """
    said = [series[-1].value for series in context.raw_metrics.get(WANTED, {}).values() if series]
    return (int(max(said)) if said else context.target_num_replicas), {}

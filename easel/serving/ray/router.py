# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""Which replica gets a request: the one that the desk has named."""

from __future__ import annotations

import time

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

NAMED_S = 1.0  # that a request waits for a replica that is not known here yet, or no more


class DeskRouter(RequestRouter):
    """Sends a request to the replica that its keyword ``runner`` names.

    Where that one is not there, another gets it, and turns it away: whoever sent it asks the desk
    again.
    """

    async def choose_replicas(self, candidate_replicas: list[RunningReplica],
                              pending_request: PendingRequest | None = None,
                              ) -> list[list[RunningReplica]]:
        """See Ray; one rank of at most one replica."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # or it asks again without a pause
        wanted = pending_request.kwargs.get("runner")
        for replica in candidate_replicas:
            if replica.replica_id.unique_id == wanted:
                return [[replica]]
        if time.time() - pending_request.created_at < NAMED_S:
            return []
        return [candidate_replicas]

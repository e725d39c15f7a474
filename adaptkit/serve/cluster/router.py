"""Which replica answers a row: one of two that its adapter has, the one with the shorter queue."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

HOMES = 2  # replicas of an adapter


class TwoHomes(RequestRouter):
    """Each adapter has two replicas, so its slots are filled there and not everywhere.

    They are those whose ids give the smallest digests with its name (rendezvous hashing, Thaler and
    Ravishankar 1998): when a replica comes or goes, few adapters move. Ray takes the one with the
    shorter queue, and the next ones if both are full.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        name = ""
        if pending_request is not None:
            name = pending_request.metadata.session_id
            pending_request.routing_context.should_backoff = True  # after a round without success
        by_id = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        ordered = [by_id[one] for one in homes(name, list(by_id))]
        ranks = [ordered[:HOMES], *([one] for one in ordered[HOMES:])]
        return [rank for rank in ranks if rank]


def homes(name: str, replicas: Sequence[str]) -> list[str]:
    """Replicas in the order in which they answer for an adapter.

    >>> homes("intent", ["a", "b", "c"]) == homes("intent", ["c", "a", "b"])
    True
    """
    return sorted(replicas, key=lambda one: hashlib.sha256(f"{name}\0{one}".encode()).digest())

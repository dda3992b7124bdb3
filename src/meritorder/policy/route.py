"""Which replica takes a request."""


def load_of(running: int, waiting: int) -> int:
    """Return the load that routing balances: requests in flight at the replica.

    Source: the least-requests rule of Envoy, vLLM's router and the Kubernetes gateway's inference extension, 2026.
    """
    return running + waiting

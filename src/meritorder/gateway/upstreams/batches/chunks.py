"""Cut work to what a provider takes in one batch."""

from collections.abc import Iterable, Iterator

from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine

# What is around a body in a provider's file: ids, names and what a translation adds.
_AROUND_BYTES = 512


def size_bytes(body_bytes: int) -> int:
    """Return what a line takes at most in a provider's file; translated forms are about as long as OpenAI's."""
    return body_bytes + _AROUND_BYTES


def cut(lines: Iterable[BatchLine], limits: BatchLimits) -> Iterator[list[BatchLine]]:
    """Yield batches within the limits, each of one path and one model, as providers want them; order is kept in each.

    A line that is larger than a whole batch may be is a batch of its own: the provider will say so.

    Args:
        lines: Any number; one open batch for each path and model is held.
        limits: Of the provider.
    """
    open_batches: dict[tuple[str, str], tuple[list[BatchLine], int]] = {}
    for line in lines:
        key = (line.path, line.model)
        batch, size = open_batches.get(key, ([], 0))
        if batch and (len(batch) >= limits.max_lines or size + size_bytes(len(line.body)) > limits.max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(line)
        open_batches[key] = (batch, size + size_bytes(len(line.body)))
    for batch, _ in open_batches.values():
        yield batch

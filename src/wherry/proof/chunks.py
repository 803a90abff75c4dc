"""How many samples go through a network at a time, so that memory does not grow with the set."""

_MOST = 64
_BYTES = 32 << 20


def chunk_size(bytes_per_sample: int) -> int:
    """Return how many samples of that size are in memory as tensors at a time: 1 to 64, about 32 MiB."""
    return max(1, min(_MOST, _BYTES // max(bytes_per_sample, 1)))

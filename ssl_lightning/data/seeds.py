"""Seeds as pure functions of what they are for: nothing but the step number has to be saved to resume."""

import hashlib


def mix(*parts: int | str) -> int:
    """A well mixed 63-bit seed: equal parts give the same seed on every machine, other parts an unrelated one."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def step_seed(seed: int, rank: int, step: int) -> int:
    """Seed of one training step of one process; ``step`` counts the batches begun since the run began."""
    return mix("step", int(seed), int(rank), int(step))

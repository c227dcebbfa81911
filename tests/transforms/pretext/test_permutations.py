import itertools
import math

import pytest
import torch

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.pretext.permutations import distant_permutations


def hamming(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def as_tuples(permutations: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in permutations.tolist()]


@pytest.mark.parametrize(("places", "count"), [(3, 6), (4, 10), (5, 20)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_choice_is_the_best_by_brute_force(places: int, count: int, seed: int) -> None:
    """Algorithm 1 of the paper, with loops: the first is given, each further one is a farthest of all that are left."""
    found = as_tuples(distant_permutations(count, seed, places))
    assert len(set(found)) == count
    for i in range(1, count):
        left = set(itertools.permutations(range(places))) - set(found[:i])
        distances = {p: [hamming(p, q) for q in found[:i]] for p in left}
        best = max((sum(of_p), min(of_p)) for of_p in distances.values())
        assert (sum(distances[found[i]]), min(distances[found[i]])) == best


@pytest.mark.parametrize("count", [2, 3, 4])
def test_as_many_as_places_differ_everywhere(count: int) -> None:
    """No set of them has a larger sum of distances, by brute force over all sets."""
    found = as_tuples(distant_permutations(count, seed=3, places=4))
    distances = [hamming(p, q) for p, q in itertools.combinations(found, 2)]
    assert set(distances) == {4}
    sets = itertools.combinations(itertools.permutations(range(4)), count)
    assert sum(distances) == max(sum(hamming(p, q) for p, q in itertools.combinations(s, 2)) for s in sets)


def test_of_nine() -> None:
    found = distant_permutations(64)
    assert found.shape == (64, 9)
    assert torch.equal(found.sort(dim=1).values, torch.arange(9).expand(64, 9))
    assert len(found.unique(dim=0)) == 64
    apart = (found[:, None] != found).sum(dim=2)[~torch.eye(64, dtype=torch.bool)]
    # no set has a larger sum: at a place the fewest pairs agree where eight tiles come 7 times and one comes 8 times
    agree = 9 * (8 * math.comb(7, 2) + math.comb(8, 2))
    assert apart.sum() / 2 == 9 * math.comb(64, 2) - agree
    assert apart.min() >= 4


def test_the_seed_decides() -> None:
    first = distant_permutations(10, seed=1)
    first[0] = 0  # what a caller does to its own does not reach others
    assert torch.equal(distant_permutations(10, seed=1)[1:], first[1:])
    assert not torch.equal(distant_permutations(10, seed=1), distant_permutations(10, seed=2))
    assert torch.equal(distant_permutations(5, seed=1), distant_permutations(10, seed=1)[:5])


def test_sets_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="count=7 permutations of 3 do not exist: give 2 to 6"):
        distant_permutations(7, places=3)

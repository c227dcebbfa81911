import numpy as np
import pytest

from ssl_lightning.data.splits import digests_of, held_out, resolve_size
from ssl_lightning.errors import InputError


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [0, 1, 37, 100, 299])
def test_labels_get_their_share_and_the_size_is_exact(seed, size):
    labels = np.random.default_rng(seed).choice(5, 300, p=[0.5, 0.3, 0.1, 0.07, 0.03])
    mask = held_out(300, size, seed, labels)
    assert mask.sum() == size
    for label in range(5):
        share = (labels == label).sum() * size / 300
        assert abs(mask[labels == label].sum() - share) < 1


def test_fixed_by_the_seed():
    labels = np.arange(100) % 4
    assert (held_out(100, 20, 1, labels) == held_out(100, 20, 1, labels)).all()
    assert (held_out(100, 20, 1, labels) != held_out(100, 20, 2, labels)).any()
    assert (held_out(100, 20, 1) != held_out(100, 20, 2)).any()


def test_groups_stay_whole():
    groups = np.repeat(np.random.default_rng(0).permutation(50) + 1000, 6)
    labels = groups % 5
    mask = held_out(300, 60, 0, labels, groups)
    assert mask.sum() == 60
    assert not set(groups[mask]) & set(groups[~mask])
    assert (np.bincount(labels[mask]) == 12).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "held"),
    [
        ([200] * 5, {200}),  # half a group is nearer to none, but none would be no validation
        ([900] + [10] * 10, {100}),
        ([500, 500], {500}),
        ([50] * 3 + [1] * 50, {19, 20, 21}),
    ],
)
def test_a_few_or_uneven_groups_still_give_about_the_size(sizes, held, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    assert held_out(len(groups), len(groups) // 10, seed, groups=groups).sum() in held


@pytest.mark.parametrize("seed", range(3))
def test_old_samples_keep_their_side_when_others_are_added(seed):
    digests = digests_of(f"document {number}" for number in range(2200))
    order = np.random.default_rng(seed).permutation(2000)
    old, new = held_out(2000, 200, seed, digests=digests[order]), held_out(2200, 220, seed, digests=digests)
    assert (old.sum(), new.sum()) == (200, 220)
    assert (new[order] != old).sum() <= 20  # 130 of 200 where the draw was one of places
    twice = np.concatenate([digests, digests[:1000]])
    both = held_out(3200, 320, seed, digests=twice)
    assert (both[:1000] == both[2200:]).all(), "equal samples stay together"


def test_a_fraction_of_something_is_something():
    assert [resolve_size(0.1, total, "x") for total in (2, 4, 5, 16)] == [1, 1, 1, 2]


@pytest.mark.parametrize(("size", "count"), [(10, 10), (0.1, 10), (0, 0), (0.0, 0)])
def test_a_size_is_a_count_or_a_fraction(size, count):
    assert resolve_size(size, 100, "x") == count


@pytest.mark.parametrize("size", [100, 500])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(InputError, match=f"data.val_size={size}"):
        resolve_size(size, 100, "data.val_size")

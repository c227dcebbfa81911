from itertools import chain

import numpy as np
import pytest

from ssl_lightning.data.sampler import BatchSampler
from ssl_lightning.errors import InputError

SIZES = [(96, 8), (100, 12), (13, 12), (12, 12), (1000, 24)]


def epoch(number=0, start=0, **arguments):
    sampler = BatchSampler(**arguments)
    sampler.set_epoch(number, start)
    return [batch.tolist() for batch in sampler]


@pytest.mark.parametrize(("size", "batch"), SIZES)
@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_together_see_what_one_sees(size, batch, world):
    whole = epoch(3, size=size, batch_size=batch, seed=5)
    parts = [epoch(3, size=size, batch_size=batch, seed=5, rank=rank, world_size=world) for rank in range(world)]
    assert [list(chain(*slices)) for slices in zip(*parts, strict=True)] == whole
    assert len(whole) == size // batch
    assert len(set(chain(*whole))) == size // batch * batch


@pytest.mark.parametrize(("size", "batch"), [*SIZES, (1, 12), (3, 12), (0, 12)])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_evaluation_takes_each_sample_once(size, batch, world):
    samplers = [BatchSampler(size, batch, rank, world, training=False) for rank in range(world)]
    batches = [[one.tolist() for one in sampler] for sampler in samplers]
    assert sorted(chain(*chain(*batches))) == list(range(size))
    assert [len(sampler) for sampler in samplers] == [len(one) for one in batches]
    widths = [sum(map(len, one)) for one in batches]
    assert max(widths) - min(widths) <= 1 or batch % world
    assert all(chain(*batches))


@pytest.mark.parametrize("start", [0, 1, 4, 7, 8])
def test_begins_at_any_batch(start):
    arguments = {"size": 100, "batch_size": 12, "seed": 1, "rank": 1, "world_size": 2}
    assert epoch(2, start, **arguments) == epoch(2, **arguments)[start:]
    assert len(BatchSampler(**arguments)) == 8


def test_order_is_a_function_of_seed_and_epoch():
    sampler = BatchSampler(100, 10, seed=1)
    first = np.concatenate(list(sampler))
    sampler.set_epoch(1)
    second = np.concatenate(list(sampler))
    sampler.set_epoch(0)
    assert (np.concatenate(list(sampler)) == first).all()
    assert (first != second).any()
    assert sorted(first) == sorted(second) == list(range(100))
    assert (np.concatenate(list(BatchSampler(100, 10, seed=2))) != first).any()


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ({"size": 100, "batch_size": 10, "world_size": 4}, ["10", "4", "try 8"]),
        ({"size": 10, "batch_size": 12}, ["12", "10"]),
    ],
)
def test_impossible_batches_are_refused(arguments, numbers):
    with pytest.raises(InputError) as caught:
        BatchSampler(**arguments)
    assert all(number in str(caught.value) for number in numbers)

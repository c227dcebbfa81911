from collections import deque

import pytest
import torch
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.modules.queue import Queue


def test_begins_with_unit_rows() -> None:
    queue = Queue(50, 3)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(50))
    assert len(queue.rows.unique(dim=0)) == 50


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7])
def test_holds_the_newest_as_a_deque_does(width: int) -> None:
    queue = Queue(7, 4)
    expected = deque(queue.rows.tolist(), maxlen=7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(9):
        keys = torch.randn(width, 4, generator=generator)
        queue.push(keys)
        expected.extend(F.normalize(keys, dim=1).tolist())
        oldest_first = queue.rows.roll(-int(queue.pointer), dims=0)
        torch.testing.assert_close(oldest_first, torch.tensor(list(expected)), rtol=0, atol=0)


def test_rows_stay_in_place_and_pass_no_gradient() -> None:
    queue = Queue(4, 2)
    address = queue.rows.data_ptr()
    queue.push(torch.randn(3, 2, requires_grad=True))
    assert not queue.rows.requires_grad
    assert queue.rows.data_ptr() == address


def test_takes_half_precision() -> None:
    queue = Queue(4, 2)
    queue.push(torch.ones(1, 2, dtype=torch.bfloat16))
    torch.testing.assert_close(queue.rows[0], torch.full((2,), 0.5**0.5), atol=1e-2, rtol=0)


def test_place_and_rows_are_saved() -> None:
    queue, again = Queue(4, 2), Queue(4, 2)
    queue.push(torch.randn(3, 2))
    again.load_state_dict(queue.state_dict())
    keys = torch.randn(3, 2)
    for one in (queue, again):
        one.push(keys)
    assert torch.equal(queue.rows, again.rows)


def test_refuses_more_than_it_holds() -> None:
    with pytest.raises(InputError, match=r"5 keys do not fit a queue of 4: raise method.queue_size"):
        Queue(4, 2).push(torch.randn(5, 2))


def test_keys_wait_for_the_end_of_the_step_and_none_of_evaluation_enter() -> None:
    queue, keys = Queue(8, 2), torch.randn(2, 3, 2)
    before = queue.rows.clone()
    for part in keys:
        queue.add(part)
    queue.eval().add(torch.ones(1, 2))
    assert torch.equal(queue.rows, before)
    queue.advance()
    torch.testing.assert_close(queue.rows[:6], F.normalize(keys.flatten(0, 1), dim=1))
    queue.advance()
    assert queue.pointer == 6

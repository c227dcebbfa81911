import time

import pytest
import torch
import torch.distributed as dist
from distributed.harness import run


def rank_and_sum(x: torch.Tensor) -> tuple[int, torch.Tensor]:
    total = x * (dist.get_rank() + 1)
    dist.all_reduce(total)
    return dist.get_rank(), total


def fail_on_rank_1() -> None:
    if dist.get_rank() == 1:
        raise ValueError("rank 1 is unhappy")
    dist.barrier()


def sleep_on_rank_0() -> None:
    if dist.get_rank() == 0:
        time.sleep(60)


def test_results_come_back_by_rank() -> None:
    (first, a), (second, b) = run(rank_and_sum, torch.ones(2))
    assert (first, second) == (0, 1)
    assert a.tolist() == b.tolist() == [3.0, 3.0]


def test_errors_and_hangs_reach_the_caller_and_the_next_call_works() -> None:
    with pytest.raises(RuntimeError, match="rank 1 is unhappy"):
        run(fail_on_rank_1)
    with pytest.raises(TimeoutError, match=r"ranks \[0, 1\] gave no result|ranks \[0\] gave no result"):
        run(sleep_on_rank_0, timeout=0.3)
    assert run(rank_and_sum, torch.ones(1))[1][0] == 1

"""Work in threads: in order, and never far ahead of what was taken."""

import time

import pytest

from ssl_lightning.data.decoded import cpu_count, in_threads


@pytest.mark.parametrize("at_once", [1, 4])
def test_results_are_in_order_and_few_are_ahead(at_once: int) -> None:
    begun: list[int] = []

    def work(row: int) -> int:
        begun.append(row)
        time.sleep(0.002 * (row % 3))
        return row * row

    taken = []
    for result in in_threads(work, 50 * cpu_count(), at_once):
        taken.append(result)
        assert len(begun) < len(taken) + 2 * at_once * cpu_count()
    assert taken == [row * row for row in range(50 * cpu_count())]


def test_an_error_ends_the_work() -> None:
    begun: list[int] = []

    def work(row: int) -> int:
        begun.append(row)
        return 1 // (row - 3)

    with pytest.raises(ZeroDivisionError):
        list(in_threads(work, 1000, 1))
    assert len(begun) < 1000

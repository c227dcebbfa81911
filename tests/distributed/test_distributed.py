import pytest
import torch
from distributed.harness import run
from torch import Tensor

from ssl_lightning.distributed import gather, gather_variable_length, mean_over_ranks, rank, world_size
from ssl_lightning.errors import InputError


def local_rows(x: Tensor) -> Tensor:
    return x.chunk(world_size())[rank()]


def gathered_and_gradient(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Each rank weighs all rows by its own weights, so ranks disagree about the gradient of a row."""
    local = local_rows(x).clone().requires_grad_()
    everything = gather(local)
    ((everything**2) * weight[rank()]).sum().backward()
    assert local.grad is not None
    return everything.detach(), local.grad


def gathered_transposed(x: Tensor) -> Tensor:
    return gather(local_rows(x).T)


def gather_of_different_sizes() -> str:
    try:
        gather(torch.zeros(3 + rank(), 2))
    except InputError as error:
        return str(error)
    return "no error"


def uneven(dtype: torch.dtype) -> Tensor:
    return gather_variable_length(torch.full((3 * rank(), 2), rank(), dtype=dtype))


def mean_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    local = x[rank()].clone().requires_grad_()
    mean = mean_over_ranks(local)
    (mean * (rank() + 1)).sum().backward()
    assert local.grad is not None
    return mean.detach(), local.grad


def same_dtype(dtype: torch.dtype) -> Tensor:
    return gather(torch.ones(1, 2, dtype=dtype) * rank())


def test_identity_without_a_process_group() -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert gather(x) is x
    assert mean_over_ranks(x) is x
    assert torch.equal(gather_variable_length(x), x)
    assert not gather_variable_length(x).requires_grad


def test_gather_gives_rows_of_all_ranks_and_sums_their_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    weight = torch.randn(2, 6, 2, dtype=torch.float64, generator=generator)
    results = run(gathered_and_gradient, x, weight)
    for everything, _ in results:
        assert torch.equal(everything, x)
    torch.testing.assert_close(torch.cat([gradient for _, gradient in results]), 2 * x * weight.sum(0))


def test_gather_takes_rows_that_are_not_contiguous() -> None:
    x = torch.arange(12.0).view(4, 3)
    assert torch.equal(run(gathered_transposed, x)[0], torch.cat([x[:2].T, x[2:].T]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_gather_keeps_the_dtype(dtype: torch.dtype) -> None:
    result = run(same_dtype, dtype)[1]
    assert result.dtype == dtype
    assert result.tolist() == [[0, 0], [1, 1]]


def test_gather_of_different_sizes_raises_on_every_rank() -> None:
    for message in run(gather_of_different_sizes):
        assert "[(3, 2), (4, 2)]" in message
        assert "\n" not in message


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_gather_uneven_takes_any_number_of_rows(dtype: torch.dtype) -> None:
    for result in run(uneven, dtype):
        assert result.dtype == dtype
        assert torch.equal(result, torch.ones(3, 2, dtype=dtype))


def test_mean_over_ranks_and_its_gradient() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    for mean, gradient in run(mean_and_gradient, x):
        assert mean.tolist() == [2.0, 4.0]
        assert gradient.tolist() == [1.5, 1.5]  # (1 + 2) / 2: both ranks' losses, each through a mean of two

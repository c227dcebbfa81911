import math

import pytest
import torch
from distributed.harness import run
from methods.recipe import make_batch, make_method
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.distributed import mean_over_ranks, rank, world_size
from ssl_lightning.losses.contrastive import nt_xent
from ssl_lightning.methods.simclr import SimCLR


def naive_nt_xent(z: Tensor, temperature: float) -> Tensor:
    """Algorithm 1 of SimCLR, anchor by anchor: row i and row i + B are the views of one image."""
    z = F.normalize(z, dim=1)
    B = len(z) // 2
    losses = []
    for i in range(2 * B):
        j = (i + B) % (2 * B)
        others = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * B) if k != i)
        losses.append(-math.log(math.exp(float(z[i] @ z[j]) / temperature) / others))
    return torch.tensor(sum(losses) / len(losses))


def test_loss_is_nt_xent_of_one_pass_of_both_views() -> None:
    method, batch = make_method("simclr", temperature=0.3), make_batch("simclr")
    z = method.projector(method.backbone(torch.cat(batch["views"])))
    found = method.loss(batch)["loss"]
    torch.testing.assert_close(found, nt_xent(z[:16], z[16:], 0.3))
    torch.testing.assert_close(found, naive_nt_xent(z.detach().double(), 0.3).float())


def test_views_share_batch_statistics() -> None:
    """One pass: the statistics of the encoder are those of 2B images, and moved once."""
    method = make_method("simclr")
    method.loss(make_batch("simclr"))
    norms = [module for module in method.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}


def test_projector_ends_with_batch_norm_and_the_embedding_is_before_it() -> None:
    method, batch = make_method("simclr"), make_batch("simclr")
    assert isinstance(method, SimCLR)
    assert isinstance(method.projector[-1], nn.BatchNorm1d)
    method.eval()
    assert torch.equal(method.loss(batch)["embedding"], method.backbone(torch.cat(batch["views"])).chunk(2)[0])


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_twins_only(temperature: float) -> None:
    """When every image is the same, all views are: the loss is log(2B - 1)."""
    method = make_method("simclr", temperature=temperature).eval()
    one = make_batch("simclr")["views"][0][:1].repeat(8, 1, 1, 1)
    assert method.loss({"views": [one, one]})["loss"].item() == pytest.approx(math.log(15), rel=1e-5)


def without_batch_statistics(**changes: int) -> SimCLR:
    torch.manual_seed(0)
    method = make_method("simclr", **changes)
    assert isinstance(method, SimCLR)
    for parent in list(method.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return method


def gradients(dtype: torch.dtype, B: int, seed: int = 0, **changes: int) -> Tensor:
    """Of this rank's share of a batch, averaged over ranks as data-parallel training does."""
    method = without_batch_statistics(**changes).to(dtype)
    batch = make_batch("simclr", B, seed, dtype)
    method.loss({"views": [view.chunk(world_size())[rank()] for view in batch["views"]]})["loss"].backward()
    return mean_over_ranks(torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk_size", [2, 6, 31])
def test_chunks_have_the_gradient_of_the_whole_batch(dtype: torch.dtype, chunk_size: int) -> None:
    whole, chunked = (gradients(dtype, 16, chunk_size=size) for size in (None, chunk_size))
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-6)


def test_chunks_in_two_processes() -> None:
    whole = gradients(torch.float64, 16)
    for found in run(chunked_in_one_of_two):
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)


def chunked_in_one_of_two() -> Tensor:
    return gradients(torch.float64, 16, chunk_size=5)

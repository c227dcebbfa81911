import pytest
import torch
from distributed.harness import run
from torch import Tensor, nn

from ssl_lightning.distributed import gather_variable_length, rank
from ssl_lightning.errors import InputError
from ssl_lightning.evaluation.features import evaluating, extract


def batches(order: list[int], size: int, label: bool = True) -> list[dict[str, Tensor]]:
    """Image i is the 2 x 2 image of value i, its label is 10 i."""
    out = []
    for rows in torch.tensor(order).split(size):
        batch = {"image": rows.to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2), "index": rows}
        out.append({**batch, "label": 10 * rows} if label else batch)
    return out


def flat(batch: dict[str, Tensor]) -> Tensor:
    return batch["image"].flatten(1).to(torch.float16)


def test_ordered_by_index_and_each_sample_once() -> None:
    out = extract(flat, batches([3, 1, 0, 2, 1, 3], size=4), "cpu")
    assert out["index"].tolist() == [0, 1, 2, 3]
    assert out["labels"].tolist() == [0, 10, 20, 30]
    assert out["features"].dtype == torch.float32
    assert torch.equal(out["features"], torch.arange(4.0)[:, None].expand(4, 4))


def test_without_labels_and_by_another_key() -> None:
    tokens = [{"tokens": torch.tensor([[5, 6]]), "index": torch.tensor([0])}]
    out = extract(lambda batch: batch["tokens"].float(), tokens, "cpu")
    assert set(out) == {"features", "index"}
    assert out["features"].tolist() == [[5.0, 6.0]]


def test_no_gradient_is_kept() -> None:
    layer = nn.Linear(4, 2)
    found = extract(lambda batch: layer(flat(batch).float()), batches([0], 1), "cpu")
    assert not found["features"].requires_grad


def extract_share(order: list[list[int]]) -> dict[str, Tensor]:
    return extract(flat, batches(order[rank()], size=2), "cpu", gather_variable_length)


def message_of_empty_share() -> str:
    try:
        extract(flat, batches([0, 1], 2) if rank() == 0 else [], "cpu", gather_variable_length)
    except InputError as error:
        return str(error)
    return "no error"


def test_ranks_with_different_numbers_of_samples_are_joined() -> None:
    whole = extract(flat, batches([0, 1, 2, 3, 4], size=2), "cpu")
    for out in run(extract_share, [[3, 1, 0], [4, 0, 2, 1, 3]]):
        assert set(out) == set(whole)
        assert all(torch.equal(out[name], whole[name]) for name in whole)


def test_an_empty_share_is_an_error_on_every_rank() -> None:
    assert all("share of it) is empty" in message for message in run(message_of_empty_share))


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(InputError, match="no samples"):
        extract(flat, [], "cpu")
    with pytest.raises(InputError, match=r"\(B, D\) features, got \(2, 1, 2, 2\)"):
        extract(lambda batch: batch["image"], batches([0, 1], 2), "cpu")


def test_evaluating_restores_the_mode_of_each_part() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))
    module[1].eval()
    module[1][0].train()
    before = [part.training for part in module.modules()]
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before == [True, True, False, True, False]

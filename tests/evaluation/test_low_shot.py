import torch

from ssl_lightning.evaluation.low_shot import LabelBudgets, draw, draw_of_each_class


def test_a_draw_has_each_class_by_its_share() -> None:
    labels = torch.arange(1000) % 10 // 9 + torch.zeros(1000, dtype=torch.long)  # nine parts of 0, one of 1
    rows = draw(labels, 100, seed=0)
    assert len(rows.unique()) == 100
    assert torch.bincount(labels[rows]).tolist() == [90, 10]
    assert torch.equal(rows, draw(labels, 100, seed=0))
    assert not torch.equal(rows, draw(labels, 100, seed=1))


def test_a_small_draw_has_each_class_at_least_once() -> None:
    labels = torch.cat([torch.zeros(990, dtype=torch.long), torch.arange(1, 11)])
    assert labels[draw(labels, 11, seed=3)].unique().tolist() == list(range(11))


def test_all_rows_can_be_drawn() -> None:
    assert draw(torch.tensor([2, 0, 2, 5]), 4, seed=0).tolist() == [0, 1, 2, 3]


def test_mean_worst_and_best_over_draws() -> None:
    labels = torch.zeros(20, dtype=torch.long)
    found = LabelBudgets([4, 8, 20], draws=3).over_all_and_few(
        labels, lambda rows, seed: {"accuracy": len(rows) + seed, "l2": 1.0}
    )
    assert found == {
        "accuracy": 20,
        "l2": 1.0,
        "accuracy_4": 5.0,
        "accuracy_4_low": 4,
        "accuracy_4_high": 6,
        "accuracy_8": 9.0,
        "accuracy_8_low": 8,
        "accuracy_8_high": 10,
    }


def test_as_many_of_each_class() -> None:
    labels = torch.cat([torch.zeros(90, dtype=torch.long), torch.full((10,), 7)])
    rows = draw_of_each_class(labels, 5, seed=0)
    assert labels[rows].unique(return_counts=True)[1].tolist() == [5, 5]
    assert not torch.equal(rows, draw_of_each_class(labels, 5, seed=1))


def test_shares_and_numbers_a_class() -> None:
    labels = torch.arange(4).repeat(50)
    few = LabelBudgets([10], draws=1, percents=(1, 2, 10), each=(1, 50)).few(labels)
    assert {name: len(drawn(0)) for name, drawn in few.items()} == {"10": 10, "2_percent": 4, "10_percent": 20,
                                                                      "1_a_class": 4}  # fmt: skip

"""The closing table and what is said below it."""

from ssl_lightning.figures.console import _below_untrained, _rows
from ssl_lightning.figures.metrics import FIGURES


def test_a_figure_below_its_control_is_told_in_a_sentence():
    latest = {"probe/knn_accuracy": 0.426, "probe/linear_accuracy": 0.7}
    untrained = {"probe/knn_accuracy": 0.635, "probe/linear_accuracy": 0.6}
    line = _below_untrained(latest, untrained, 5)
    assert "below the untrained encoder" in line
    assert "after 5 steps: kNN accuracy 42.6% (untrained 63.5%); train longer" in line
    assert "linear" not in line
    assert not _below_untrained({"probe/knn_accuracy": 0.7}, untrained, 5)
    assert not _below_untrained(latest, {}, 5)


def test_label_free_figures_are_shown_where_no_labels_tell_more():
    rank = {"probe/effective_rank": 12.34, "val/loss": 1.0}
    assert _rows(rank, {"probe/effective_rank": 3.21}, FIGURES) == [
        ("effective rank of the embedding", "12.3", "3.2"),
        ("loss", "1.0000", ""),
    ]
    assert [row[0] for row in _rows({**rank, "probe/knn_accuracy": 0.5}, {}, FIGURES)] == ["kNN accuracy", "loss"]

"""Curves and maps as they are drawn."""

import pytest
import torch
from sklearn.decomposition import PCA

from ssl_lightning.errors import InputError
from ssl_lightning.figures.curves import curves_figure, map_figure, picture_map, project
from ssl_lightning.figures.images import columns_figure, texts_figure


def test_accuracies_are_in_percent_with_intervals_beside_the_untrained_encoder():
    accuracy = {"probe/knn_accuracy": ([0, 10], [0.5, 0.9]), "probe/linear_accuracy": ([0, 10], [0.4, 0.8])}
    ends = {f"probe/knn_accuracy_{end}": ([0, 10], [0.5 + by, 0.9 + by]) for end, by in (("low", -0.1), ("high", 0.1))}
    figure = curves_figure(
        {"train/loss": ([5, 10], [2.0, 1.0]), **accuracy, **ends, "train/learning_rate": ([5], [0.1])}, {}
    )
    loss, probes = [axes for axes in figure.axes if axes.get_title()]
    assert (loss.get_xlim()[0], probes.get_xlim()) == (0, loss.get_xlim())
    assert probes.yaxis.get_major_formatter()(0.5) == "50%"
    assert [text.get_text() for text in probes.get_legend().get_texts()] == [
        "kNN accuracy",
        "untrained encoder",
        "linear accuracy",
    ]
    probes.set_ylim(0.82, 0.99)
    assert probes.yaxis.get_major_formatter()(0.875) == "87.5%"  # whole percents would be unevenly spaced
    (band,) = probes.collections
    assert band.get_paths()[0].get_extents().bounds == pytest.approx((0, 0.4, 10, 0.6))


def test_without_labels_the_rank_is_drawn_beside_the_untrained_encoder():
    (axes,) = curves_figure({"probe/effective_rank": ([0, 10], [7.0, 9.0])}, {}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()][1:] == ["untrained encoder"]


def test_a_run_without_curves_has_a_picture():
    assert [axes.axison for axes in curves_figure({}, {}).axes] == [False]


def test_maps_beside_each_other_tell_twenty_classes_apart():
    x, labels = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 20
    figure = map_figure(
        {"untrained encoder": x, "after 5 steps": x + 1}, labels, [f"class {c}" for c in range(20)], "pca"
    )
    looks = {(str(dots.get_facecolor()), dots.get_paths()[0].vertices.tobytes()) for dots in figure.axes[1].collections}
    assert len(looks) == len(figure.axes[1].get_legend().get_texts()) == 20
    assert [axes.get_title() for axes in figure.axes] == ["untrained encoder", "after 5 steps"]
    assert map_figure({"all": x}, None, None, "pca").axes[0].get_legend() is None


def test_a_map_of_pictures_shows_one_in_each_place():
    x = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shades = torch.tensor([0.2, 0.2, 0.4, 0.6])
    (axes,) = picture_map(x, lambda rows: shades[rows].view(-1, 1, 1, 1).expand(-1, 3, 2, 2), "pca").axes
    assert sorted(float(shown.get_array()[0, 0, 0]) for shown in axes.images) == pytest.approx([0.2, 0.4, 0.6])
    assert axes.get_title() == "3 of 4 pictures"
    alike = picture_map(x[:2], lambda rows: torch.zeros(len(rows), 1, 2, 2), "pca")
    assert len(alike.axes[0].images) == 1


def test_a_map_by_pca_is_that_of_scikit_learn():
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    ours, theirs = project(x, "pca"), PCA(2).fit_transform(torch.nn.functional.normalize(x, dim=1).numpy())
    assert abs(abs(ours) - abs(theirs)).max() < 1e-5
    with pytest.raises(InputError, match="umap-learn"):
        project(x, "umap")


def test_samples_without_names_stand_side_by_side():
    columns = {"image": torch.zeros(5, 1, 4, 4), "view 1": torch.ones(5, 1, 4, 4)}
    wide, tall = columns_figure(columns), columns_figure(columns, list("abcde"))
    assert [figure.axes[0].get_gridspec().get_geometry() for figure in (wide, tall)] == [(2, 5), (5, 2)]
    assert [axes.get_ylabel() for axes in wide.axes if axes.get_ylabel()] == ["image", "view 1"]
    axes = texts_figure({"text": ["a $b$ c"]}, ["a.txt"]).axes[0]
    assert ([text.get_text() for text in axes.texts], axes.get_ylabel()) == (["a $b$ c"], "a.txt")

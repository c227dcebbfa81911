from dataclasses import replace

import torch
from sklearn.datasets import load_digits

from ssl_lightning.evaluation.protocol import PROTOCOLS, Protocol


def test_raw_digits() -> None:
    x, y = (torch.tensor(array) for array in load_digits(return_X_y=True))
    probe_train = {"features": x[:600].float(), "labels": y[:600], "index": torch.arange(600)}
    test = {"features": x[600:1000].float(), "labels": y[600:1000], "index": torch.arange(400)}
    figures = PROTOCOLS["v1"].run(probe_train, test, 10)
    for name in ("probe/knn_accuracy", "probe/linear_accuracy"):
        assert 0.85 < figures[f"{name}_low"] < figures[name] < figures[f"{name}_high"] <= 1
    assert figures["probe/linear_l2"] in PROTOCOLS["v1"].l2_grid
    assert all(isinstance(value, float) for value in figures.values())
    assert figures == PROTOCOLS["v1"].run(probe_train, test, 10)


def test_v1_is_what_it_was() -> None:
    assert PROTOCOLS["v1"].name == "v1"
    assert PROTOCOLS["v1"].hash == "03a2e3f3b538"


def test_every_setting_enters_the_hash() -> None:
    v1 = PROTOCOLS["v1"]
    changed = [replace(v1, name="x"), replace(v1, knn_k=5), replace(v1, knn_temperature=0.1)]
    changed += [replace(v1, l2_grid=(1.0,)), replace(v1, seed=1)]
    assert len({v1.hash, *(protocol.hash for protocol in changed)}) == 6
    assert Protocol("v1").hash == v1.hash

import pytest
import torch

from ssl_lightning.evaluation import tfidf
from ssl_lightning.evaluation.tfidf import tfidf_predict

TEXTS = ["a good film", "good and fine", "a fine film", "a bad film", "bad and dull", "a dull film"] * 3
LABELS = torch.tensor([1, 1, 1, 0, 0, 0] * 3)


def test_words_tell() -> None:
    tests = ["fine film", "the dull one", "good", "so bad"]
    assert tfidf_predict(TEXTS, LABELS, tests).tolist() == [1, 0, 1, 0]
    assert torch.equal(tfidf_predict(TEXTS, LABELS, tests), tfidf_predict(TEXTS, LABELS, tests))


def test_pairs_of_words_tell() -> None:
    texts = ["not good", "so good", "not bad", "so bad"] * 6
    labels = torch.tensor([0, 1, 1, 0] * 6)
    assert tfidf_predict(texts, labels, ["not good", "not bad"]).tolist() == [0, 1]


def test_two_texts_are_enough() -> None:
    assert tfidf_predict(["good", "bad"], torch.tensor([1, 0]), ["good"]).tolist() == [1]


def test_the_penalty_of_few_texts_is_not_chosen_on_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[float] = []
    fit = tfidf.LogisticRegression.fit
    monkeypatch.setattr(
        tfidf.LogisticRegression, "fit", lambda self, *given: (chosen.append(self.C), fit(self, *given))[1]
    )
    tfidf_predict(TEXTS[:6], LABELS[:6], ["good"])
    assert chosen == [1.0]
    tfidf_predict(TEXTS, LABELS, ["good"])
    assert len(chosen) == 1 + len(tfidf.C_GRID) + 1

"""TF-IDF and logistic regression: the baseline for text that uses words alone and no pretraining."""

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from torch import Tensor

C_GRID = (0.1, 1.0, 10.0, 100.0)


def tfidf_predict(texts: list[str], labels: Tensor, test_texts: list[str], seed: int = 0) -> Tensor:
    """Predicted classes (M,) of M test texts, from N training texts with `labels` (N,).

    Features are words and pairs of words with log-scaled term frequencies; inverse document frequencies come from the
    training texts. The inverse penalty C is chosen on a held-out fifth of these, a tie going to the smaller; it is 1
    where a class has fewer than five texts.
    """
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    model = make_pipeline(words, LogisticRegression(max_iter=1000))
    if int(labels.unique(return_counts=True)[1].min()) >= 5:
        held_out = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
        model = GridSearchCV(model, {"logisticregression__C": C_GRID}, cv=held_out)
    return torch.from_numpy(np.asarray(model.fit(texts, labels.numpy()).predict(test_texts)))

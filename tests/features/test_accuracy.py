"""Accuracies against scikit-learn and a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score

from features.accuracy import accuracy, count_hits

quick = settings(database=None, deadline=None, max_examples=60)


@quick
@given(n=st.integers(1, 60), classes=st.integers(6, 20), seed=st.integers(0, 2**31))
def test_accuracy_against_sklearn_and_a_loop(n, classes, seed):
    rng = np.random.RandomState(seed)
    logits, labels = rng.standard_normal((n, classes)), rng.randint(0, classes, n)
    scores = accuracy(count_hits(logits, labels, classes))
    every = list(range(classes))
    predicted = logits.argmax(1)
    assert scores["top1"] == pytest.approx(100 * accuracy_score(labels, predicted))
    assert scores["top5"] == pytest.approx(100 * top_k_accuracy_score(labels, logits, k=5, labels=every))
    recall = recall_score(labels, predicted, labels=every, average=None, zero_division=0)
    assert len(scores["per_class"]) == classes
    for c in every:
        if c in labels:
            assert scores["per_class"][c] == pytest.approx(100 * recall[c])
        else:
            assert scores["per_class"][c] is None
    top5 = 0
    for row, label in zip(logits, labels, strict=True):
        top5 += sum(other > row[label] for other in row) < 5
    assert scores["top5"] == pytest.approx(100 * top5 / n)


def test_accuracy_of_few_classes():
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [1.0, 0.0, 2.0], [9.0, 0.0, 1.0]])
    scores = accuracy(count_hits(logits, np.array([0, 1, 0, 1]), 3))
    assert scores == {"top1": 50.0, "top5": 100.0, "per_class": [50.0, 50.0, None], "images": 4}

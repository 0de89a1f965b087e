"""Writes tests/golden/train_metrics.txt: scikit-learn's figures for seeded random classifications.

    /opt/oracle/bin/python tests/oracle/train_metrics_golden.py tests/golden/train_metrics.txt

A case: "case N C coarse seed", one line of metrics (percent). Scores come from an integer generator
(xorshift32, below) that the C test repeats, so the file holds results only. `coarse` rounds the scores,
which makes ties.
"""
import sys
import warnings

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, precision_recall_fscore_support


class XorShift:
    def __init__(self, seed):
        self.s = seed

    def next(self):
        s = self.s
        s ^= (s << 13) & 0xFFFFFFFF
        s ^= s >> 17
        s ^= (s << 5) & 0xFFFFFFFF
        self.s = s
        return s


def make_case(n, classes, coarse, seed):
    rng = XorShift(seed)
    labels = np.array([rng.next() % classes for _ in range(n)])
    p = np.array([[rng.next() % (coarse or (1 << 24)) + 1 for _ in range(classes)] for _ in range(n)],
                 dtype=np.float64)
    p[np.arange(n), labels] *= 1.5
    return labels, p / p.sum(axis=1, keepdims=True)


def main(path):
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(5)
    with open(path, "w") as f:
        for k in range(240):
            n, classes = int(rng.integers(1, 60)), int(rng.integers(2, 12))
            coarse = 0 if k % 3 else int(rng.integers(2, 9))
            labels, p = make_case(n, classes, coarse, 1000 + k)
            predicted = p.argmax(axis=1)
            precision, recall, f1, _ = precision_recall_fscore_support(
                labels, predicted, labels=range(classes), average="macro", zero_division=0)
            ap = [average_precision_score(labels == c, p[:, c]) for c in range(classes)
                  if (labels == c).any()]
            f.write(f"case {n} {classes} {coarse} {1000 + k}\n")
            figures = [accuracy_score(labels, predicted), np.mean(ap), precision, recall, f1]
            f.write(" ".join(f"{100 * float(v):.17g}" for v in figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

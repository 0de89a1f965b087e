"""Golden folds from scikit-learn's StratifiedKFold(n_splits, shuffle=True, random_state).

    python tests/oracle/folds.py [CASES [FILE]]     (default: 60 cases, tests/golden/folds.txt)

A case is three lines: `n_splits random_state n`, the labels, the fold in which each sample validates.
"""
import pathlib
import sys
import warnings

import numpy as np
from sklearn.model_selection import StratifiedKFold

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "folds.txt"


def random_case(rng, k):
    n_splits = int(rng.integers(2, 9))
    classes = int(rng.integers(2, 13))
    n = int(rng.integers(max(n_splits, classes), 30 if k % 3 else 150))
    weights = rng.dirichlet(np.full(classes, 0.7))
    labels = rng.choice(classes, n, p=weights)
    if k % 5 == 1:
        labels = np.sort(labels)
    seed = int([0, 1, 42, 2**32 - 1, 2**31, rng.integers(2**32)][k % 6])
    return n_splits, seed, labels


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    path = sys.argv[2] if len(sys.argv) > 2 else GOLDEN
    rng = np.random.default_rng(7)
    cases = [(5, 42, np.repeat([0, 1], 5)), (3, 0, np.arange(12) % 3)]
    warnings.simplefilter("ignore")
    out = []
    while len(out) < count:
        n_splits, seed, labels = cases.pop(0) if cases else random_case(rng, len(out))
        counts = np.bincount(labels)
        if np.count_nonzero(counts) < 2 or counts.max() < n_splits:
            continue
        fold_of = np.empty(len(labels), int)
        split = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
        for f, (train, val) in enumerate(split.split(np.zeros(len(labels)), labels)):
            fold_of[val] = f
            assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))
            assert np.array_equal(train, np.sort(train)) and np.array_equal(val, np.sort(val))
        out.append("%d %d %d\n%s\n%s\n" % (n_splits, seed, len(labels), " ".join(map(str, labels)),
                                            " ".join(map(str, fold_of))))
    pathlib.Path(path).write_text("".join(out))


if __name__ == "__main__":
    main()

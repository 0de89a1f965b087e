"""Golden figures of cv_summary.json: numpy's mean and std over random folds.

    /opt/oracle/bin/python tests/oracle/jobs_summary.py     writes tests/golden/jobs/summary.json
"""
import json
import pathlib

import numpy

NAMES = ["train_loss", "train_acc", "val_loss", "val_acc", "val_mAP", "best_val_acc", "best_val_mAP",
         "best_precision", "best_recall", "best_f1"]


def main():
    rng = numpy.random.RandomState(20)
    cases = []
    for folds in (1, 2, 3, 5, 10):
        values = {n: (rng.rand(folds) * (4 if "loss" in n else 100)).tolist() for n in NAMES}
        averages = {}
        for n in NAMES:
            averages["avg_" + n] = float(numpy.mean(values[n]))
            averages["std_" + n] = float(numpy.std(values[n]))
        cases.append({"folds": folds, "values": values, "average_results": averages})
    out = pathlib.Path(__file__).resolve().parent.parent / "golden" / "jobs" / "summary.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()

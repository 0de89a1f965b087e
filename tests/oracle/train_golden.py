"""Writes tests/golden/train_history.txt: histories of full-batch trainings by PyTorch in double, one for each
loss option, with the sum and the sum of squares of all parameters at the end.

    /opt/oracle/bin/python tests/oracle/train_golden.py tests/golden/train_history.txt
"""
import sys

from train_oracle import COLUMNS, run

BASE = {"superclip": True, "class_weight": 1.0, "contrastive_weight": 1.0}
FOCAL = {"focal": True, "focal_alpha": 0.25, "focal_gamma": 2.0}
CASES = [
    ("superclip", {}),
    ("contrastive_only", {"superclip": False}),
    ("no_class_weights", {"class_weights": False}),
    ("inverse_sqrt", {"method": "inverse_sqrt"}),
    ("part_weights", {"class_weight": 0.7, "contrastive_weight": 1.3}),
    ("focal", FOCAL),
    ("focal_sharp", {**FOCAL, "focal_alpha": 0.6, "focal_gamma": 3.5}),
    ("multi_positive", {"multi_positive": True}),
    ("freeze_image", {"freeze_image": True}),
    ("freeze_text", {"freeze_text": True}),
    ("freeze_bn", {"freeze_bn": True}),
    ("no_text_projection", {"embed_dim": 64}),
]


def main(path):
    with open(path, "w") as f:
        f.write(" ".join(COLUMNS) + "\n")
        for name, options in CASES:
            history, model = run({**BASE, **options})
            f.write(f"case {name} {len(history)}\n")
            for row in history:
                f.write(" ".join(f"{v:.17g}" for v in row) + "\n")
            total = sum(float(p.detach().sum()) for p in model.parameters())
            square = sum(float((p.detach() ** 2).sum()) for p in model.parameters())
            f.write(f"{total:.17g} {square:.17g}\n")


if __name__ == "__main__":
    main(sys.argv[1])

"""Golden progress lines: tqdm's own, in ASCII, with the postfix of the old training script.

    /opt/oracle/bin/python tests/oracle/report_progress.py   writes tests/golden/report/progress.json
"""
import json
import pathlib
import random

from tqdm import tqdm


def postfix(c):
    parts = ["loss=%.4f" % c["loss"]]
    if c["superclip"]:
        parts += ["cls=%.4f" % c["class_loss"], "clip=%.4f" % c["contrastive_loss"]]
    return ", ".join(parts + ["acc=%.2f%%" % c["acc"]])


def line(c):
    prefix = "[Val]" if c["validating"] else "Epoch %d [Train]" % c["epoch"]
    return tqdm.format_meter(c["done"], c["total"], c["seconds"], ascii=True, prefix=prefix,
                             postfix=postfix(c) if c["done"] else None)


def main():
    rng = random.Random(4)
    cases = [dict(validating=False, superclip=True, epoch=1, done=202, total=202, seconds=202 / 11.26,
                  loss=2.6845, class_loss=1.5028, contrastive_loss=1.1816, acc=12.25),
             dict(validating=True, superclip=True, epoch=1, done=202, total=202, seconds=202 / 16.18,
                  loss=2.6845, class_loss=1.5028, contrastive_loss=1.1816, acc=14.11)]
    for i in range(78):
        total = rng.choice([1, 2, 3, 7, 202, 1000, 123456])
        cases.append(dict(validating=rng.random() < 0.5, superclip=rng.random() < 0.5,
                          epoch=rng.randint(1, 100), done=rng.randint(0, total), total=total,
                          seconds=rng.choice([0.0, 0.01, 1.5, 59.99, 61.0, 3599.9, 3600.0, 90000.0]),
                          loss=rng.random() * 5, class_loss=rng.random(),
                          contrastive_loss=rng.random() * 20, acc=rng.random() * 100))
    for c in cases:
        c["line"] = line(c)
    out = pathlib.Path(__file__).resolve().parent.parent / "golden" / "report" / "progress.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()

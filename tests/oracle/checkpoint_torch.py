#!/usr/bin/env python3
"""Checkpoints both ways. sc_mpi trains an epoch; its checkpoint_latest.pth is loaded into the old script's
model in PyTorch with strict=True, its optimizer_state_dict into torch.optim.AdamW and its
scheduler_state_dict into CosineAnnealingLR. sc_mpi goes on and dumps its next step; AdamW takes the same
step with the same gradients and has to arrive at the same parameters. Then a checkpoint that torch.save
wrote goes back by --init-from and has to arrive bit by bit.

    python tests/oracle/checkpoint_torch.py build/bin/sc_mpi [IMAGE_ENCODER+TEXT_ENCODER...]
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from model_oracle import SuperCLIP

LR = 1e-3  # a step moves a parameter by about as much
UNITS = 4  # both sides round a handful of operations; see compare
CASES = [f"resnet{n}+clip:tiny" for n in (18, 34, 50, 101, 152)] + [
    f"resnet-tiny+clip:{n}" for n in ("ViT-B/32", "ViT-B/16", "ViT-L/14", "RN50")] + [
    "vit+clip:tiny", "resnet-tiny+bert-base-chinese"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "d", "##og"]  # BERT's, for these two classes


def images(folder):
    rng = np.random.default_rng(1)
    for c in ("cat", "dog"):
        (folder / c).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / c / f"{i}.png")


def run(program, work, image, text, name, *flags, **keys):
    config = {"name": name, "image_encoder": image, "text_encoder": text, "img_size": 64, "embed_dim": 512,
              "pretrained": False, "batch_size": 4, "n_splits": 2, "use_cv": False, "epochs": 1,
              "learning_rate": LR, "use_amp": False, "augmentation": "none", "num_workers": 1,
              "use_superclip_loss": True, **keys}
    if text.startswith("bert"):
        (work / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        config["tokenizer"] = "vocab.txt"
    (work / "c.json").write_text(json.dumps([config]))
    done = subprocess.run([program, "c.json", "--data-dir", "data", "--output-dir", "out", "--log-dir", "logs",
                           *flags], cwd=work, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(f"{image}, {text}: {done.stderr.strip()}")
    return work / "out" / name / "fold_1"


def build(image, text, checkpoint):
    state = checkpoint["model_state_dict"]
    words = state.get("text_encoder.token_embedding.weight",
                      state.get("text_encoder.backbone.embeddings.word_embeddings.weight"))
    model = SuperCLIP(image, text, 512, len(words), 0.07, img_size=64)
    model.load_state_dict(state, strict=True)
    return model


def next_step(model, checkpoint, d):
    """AdamW from the checkpoint's state, with the dumped gradients."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=99)
    scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
    assert scheduler.last_epoch == checkpoint["epoch"] + 1 and scheduler.base_lrs == [LR]
    for group in optimizer.param_groups:  # sc_mpi goes on with one epoch more: another cosine
        group["lr"] = float(d["lr"])
    for name, p in model.named_parameters():
        if ".pooler." not in name:  # which no gradient reaches
            p.grad = d[f"grad.{name}"].float()
    optimizer.step()


def compare(model, d):
    """Largest difference in units of a float's last digit of the parameter, or of the step where that is larger."""
    worst = 0.0
    for name, p in model.named_parameters():
        ours = d[f"updated.{name}"].float() if ".pooler." not in name else d[f"param.{name}"].float()
        size = torch.maximum(p.detach().abs(), torch.tensor(LR))
        worst = max(worst, float(((ours - p.detach()).abs() / (size * 2.0**-23)).max()))
    return worst


def check(program, case, work):
    image, text = case.split("+")
    images(work / "data")
    fold = run(program, work, image, text, "x")
    path = fold / "checkpoint_latest.pth"
    checkpoint = torch.load(path, weights_only=True)
    model = build(image, text, checkpoint)
    run(program, work, image, text, "x", "--dump-steps", "1", "dump", epochs=2)
    d = safetensors.torch.load_file(work / "dump/step_0001.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, d[f"param.{name}"].to(tensor.dtype)), name
    next_step(model, checkpoint, d)
    digits = compare(model, d)

    script = {"epoch": 0, "fold": 1, "model_state_dict": model.state_dict(), "val_acc": 50.0,
              "optimizer_state_dict": torch.optim.AdamW(model.parameters()).state_dict(),
              "config": {"image_encoder_name": image}, "class_to_idx": {"cat": 0, "dog": 1}}
    torch.save(script, work / "script.pth")
    run(program, work, image, text, "back", "--init-from", "script.pth", "--dump-steps", "1", "dump")
    d = safetensors.torch.load_file(work / "dump/step_0001.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, d[f"param.{name}"].to(tensor.dtype)), name
    return digits


def main():
    program, cases = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:] or CASES
    torch.set_num_threads(1)
    worst = 0.0
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            digits = check(program, case, pathlib.Path(folder))
        worst = max(worst, digits)
        print(f"{case:24} next step within {digits:.2f} units of the last digit; back: equal", flush=True)
    if worst > UNITS:
        sys.exit("AdamW does not arrive at the same parameters")
    print(f"ok: {len(cases)} models, worst {worst:.2f}")


if __name__ == "__main__":
    main()

"""The model of a dumped step in PyTorch: built from the step's tensors, run in double and, as a yardstick
of rounding, in float or bf16. Part of replay_steps.py.
"""
import copy
import math
import re
import types

import torch
import torch.nn.functional as F

import hf_encoders
import replay_inputs as inputs
import timm_encoders
from model_oracle import CLIP, SuperCLIP, superclip_loss


class Broken(Exception):
    """A dump that cannot be replayed at all."""


def class_ids(d):
    classes = [[] for _ in range(len(d["class_weights"]))]
    for row, end, c in zip(d["tokens"].tolist(), d["text_end"].tolist(), d["text_class"].tolist()):
        if not (0 <= end < len(row) and 0 <= c < len(classes)):
            raise Broken(f"a text of class {c} that ends at token {end} of {len(row)}")
        classes[c].append(row[: end + 1])
    if not all(classes):
        raise Broken("a class without a text")
    return classes


def load(model, d, prefix):
    state = {k[len(prefix):]: v for k, v in d.items() if k.startswith(prefix)}
    try:
        model.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as e:
        raise Broken(f"{prefix}*: {' '.join(str(e).split())}") from e


def local_statistics(module, rows_of):
    """sync_bn false: each rank normalises its own rows; the dump has the statistics of rank 0."""
    def forward(self, x):
        out = []
        for rank, rows in enumerate(x.split(rows_of(len(x)))):
            mean, var = (self.running_mean, self.running_var) if rank == 0 else (None, None)
            out.append(F.batch_norm(rows, mean, var, self.weight, self.bias, True, self.momentum, self.eps))
        self.num_batches_tracked += 1
        return torch.cat(out)
    module.forward = types.MethodType(forward, module)


def batch_norms(model):
    return [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]


def build(meta, d, ranks):
    image, text = meta["image_encoder"], meta["text_encoder"]
    vit, bert = hf_encoders.is_hf(image), hf_encoders.is_hf(text)
    known = vit or timm_encoders.is_timm(image) or re.fullmatch(r"resnet(18|34|50|101|152|-tiny)", image)
    if not known or not (bert or text in CLIP):
        raise Broken(f"no replay for {image} with {text}")
    try:
        dim = d["param.image_encoder.projection.weight"].shape[0]
        words = "backbone.embeddings.word_embeddings" if bert else "token_embedding"
        vocabulary = d[f"param.text_encoder.{words}.weight"].shape[0]
        context = None if bert else d["param.text_encoder.positional_embedding"].shape[0]
        positions = d["param.image_encoder.backbone.embeddings.position_embeddings"].shape[1] if vit else 0
    except KeyError as e:
        raise Broken(f"no tensor {e} in the first step") from e
    size = 16 * math.isqrt(positions)
    model = SuperCLIP(image, text, dim, vocabulary, 0.07, context, size).double()
    load(model, d, "param.")
    if ranks > 1 and not meta["running_statistics"]:
        for _, m in batch_norms(model):
            local_statistics(m, lambda n: [k for k in (n // ranks + (r < n % ranks) for r in range(ranks)) if k])
    return model


def trainable(name, config, meta, batch_norm):
    """Whether the config leaves this parameter a gradient."""
    if name == "temperature":
        return meta["superclip"]
    if ".pooler." in name:  # read by nothing
        return False
    if config is None:
        return True
    if name.startswith("image_encoder.backbone."):
        norm = name.rsplit(".", 1)[0] in batch_norm
        return not config["freeze_image_encoder"] and not (norm and config["freeze_bn"])
    if name.startswith("text_encoder.") and not name.startswith("text_encoder.projection."):
        return not config["freeze_text_encoder"]
    return True


def forward_backward(model, meta, d):
    """Features; the gradients are left in the model."""
    x = model.image_encoder(inputs.network_input(d).to(model.temperature.dtype))
    t = model.class_features(class_ids(d))
    with torch.autocast("cpu", enabled=False):
        weights = d["class_weights"].to(model.temperature.dtype)
        x, t = x.to(weights.dtype), t.to(weights.dtype)
        losses, _ = superclip_loss(x, t, d["labels"].long(), model.temperature, meta["tau0"], weights, meta)
    model.zero_grad()
    losses[0].backward()
    return x.detach().double(), t.detach().double()


def trainable_parameters(model):
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def own_rounding(model, meta, d):
    """The step by PyTorch in float or bf16: features, gradients and buffers by name."""
    model = copy.deepcopy(model).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=meta["precision"] == "bf16"):
        x, t = forward_backward(model, meta, d)
    grads = {n: p.grad.double() for n, p in trainable_parameters(model)}
    kept = model.state_dict()  # a BERT's position ids are no part of it
    return x, t, grads, {n: b for n, b in model.named_buffers() if n in kept}

"""Every op of ops.def, forward and backward, by PyTorch in double -> tests/golden/ops.golden.

    /opt/oracle/bin/python tests/oracle/ops_golden.py tests/golden/ops.golden

Tensors of a case: in<k>, param<k> -> out<k>; dout<k> -> din<k>, dparam<k>; after<k> is parameter k
behind the forward pass (running statistics). Attributes are the fields of sc_attrs, and "training"
(1 unless given).
"""
import sys

import torch
import torch.nn.functional as F

from golden_format import GoldenFile

golden = GoldenFile()
generator = torch.Generator().manual_seed(20250101)


def randn(*shape, scale=1.0):
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def leaf(t):
    return t.clone().requires_grad_(True)


def i32(values):
    return torch.tensor(values, dtype=torch.int32)


def run(name, op, attrs, ins, params, function, extra=None):
    """function(ins, params) -> outputs; the gradient of out0 is random."""
    ins = [leaf(t) if t.is_floating_point() else t for t in ins]
    params = [leaf(t) for t in params]
    out = function(ins, params)
    dout = randn(*out.shape)
    out.backward(dout)
    tensors = {}
    for k, t in enumerate(ins):
        tensors[f"in{k}"] = t
    for k, t in enumerate(params):
        tensors[f"param{k}"] = t
    tensors["out0"], tensors["dout0"] = out, dout
    for k, t in enumerate(ins):
        if t.is_floating_point():
            tensors[f"din{k}"] = t.grad
    for k, t in enumerate(params):
        tensors[f"dparam{k}"] = t.grad if t.grad is not None else torch.zeros_like(t)
    tensors.update(extra() if extra else {})
    golden.case(f"{op}/{name}", op, attrs, tensors)


def conv():
    for name, n, c, h, w, o, k, stride, pad in [
            ("3x3", 2, 3, 7, 6, 4, 3, 1, 1), ("3x3_stride2", 2, 4, 7, 8, 3, 3, 2, 1),
            ("1x1", 2, 5, 4, 3, 6, 1, 1, 0), ("1x1_stride2", 1, 3, 5, 6, 4, 1, 2, 0),
            ("7x7_stride2", 1, 3, 17, 15, 4, 7, 2, 3), ("no_padding", 1, 2, 5, 5, 2, 3, 1, 0),
            ("stride3", 1, 2, 8, 7, 3, 3, 3, 2), ("channels17", 1, 17, 4, 4, 18, 3, 1, 1),
            ("one_pixel", 2, 3, 1, 1, 2, 3, 1, 1)]:
        run(name, "conv2d", {"stride": stride, "pad": pad, "kernel": k}, [randn(n, c, h, w)],
            [randn(o, c, k, k, scale=0.4)],
            lambda x, p, s=stride, d=pad: F.conv2d(x[0], p[0], stride=s, padding=d))


def batch_norm():
    for name, training, running, relu, residual in [
            ("train", 1, 0, 0, 0), ("train_relu", 1, 0, 1, 0), ("train_residual_relu", 1, 0, 1, 1),
            ("train_residual", 1, 0, 0, 1), ("running", 1, 1, 1, 1), ("running_plain", 1, 1, 0, 0)]:
        c = 5
        x = [randn(3, c, 4, 3) * 2 + 1.5] + ([randn(3, c, 4, 3)] if residual else [])
        mean, var = randn(c), torch.rand(c, generator=generator, dtype=torch.float64) + 0.3
        before = (mean.clone(), var.clone())

        def function(x, p):
            use_batch = training and not running
            y = F.batch_norm(x[0], mean, var, p[0], p[1], bool(use_batch), 0.1, 1e-5)
            y = y + x[1] if residual else y
            return F.relu(y) if relu else y

        run(name, "batch_norm", {"eps": 1e-5, "momentum": 0.1, "relu": relu, "running": running}, x,
            [randn(c), randn(c)], function,
            lambda: {"param2": before[0], "param3": before[1], "after2": mean, "after3": var})
    for name, relu in [("eval", 0), ("eval_relu", 1)]:  # forward only
        x, mean, weight, bias = randn(2, 3, 5, 2), randn(3), randn(3), randn(3)
        var = randn(3).abs() + 0.1
        y = F.batch_norm(x, mean, var, weight, bias, False, 0.1, 1e-5)
        golden.case(f"batch_norm/{name}", "batch_norm",
                    {"eps": 1e-5, "momentum": 0.1, "relu": relu, "training": 0},
                    {"in0": x, "param0": weight, "param1": bias, "param2": mean, "param3": var,
                     "out0": F.relu(y) if relu else y, "after2": mean, "after3": var})


def pools():
    for name, n, c, h, w, k, s, p in [("3x3_stride2", 2, 3, 8, 7, 3, 2, 1), ("2x2", 1, 2, 6, 6, 2, 2, 0),
                                      ("overlap", 1, 2, 5, 5, 3, 1, 1), ("one_pixel", 2, 2, 1, 1, 3, 2, 1)]:
        x = torch.randint(-3, 3, (n, c, h, w), generator=generator).double()  # many ties
        run(name, "max_pool", {"kernel": k, "stride": s, "pad": p}, [x], [],
            lambda x, _, a=(k, s, p): F.max_pool2d(x[0], *a))
    x = torch.full((1, 1, 4, 4), -5.0, dtype=torch.float64)  # padding must not win
    run("negative", "max_pool", {"kernel": 3, "stride": 2, "pad": 1}, [x], [],
        lambda x, _: F.max_pool2d(x[0], 3, 2, 1))
    run("7x5", "avg_pool", {}, [randn(2, 4, 7, 5)], [], lambda x, _: x[0].mean((2, 3)))
    run("1x1", "avg_pool", {}, [randn(3, 2, 1, 1)], [], lambda x, _: x[0].mean((2, 3)))


def linear():
    for name, shape, out, bias, transposed, gelu in [
            ("plain", (4, 5), 3, 0, 0, 0), ("bias", (4, 5), 3, 1, 0, 0), ("transposed", (4, 5), 3, 0, 1, 0),
            ("gelu", (2, 3, 6), 7, 1, 0, 1), ("gelu_large", (3, 4), 5, 1, 0, 1),
            ("three_dims", (2, 4, 5), 9, 1, 0, 0), ("one_row", (1, 8), 1, 1, 0, 0)]:
        def function(x, p):
            u = x[0] @ p[0] if transposed else x[0] @ p[0].T
            u = u + p[1] if bias else u
            return u * torch.sigmoid(1.702 * u) if gelu else u
        scale = 8.0 if name == "gelu_large" else 1.0
        weight = randn(shape[-1], out) if transposed else randn(out, shape[-1])
        run(name, "linear", {"transposed": transposed, "activation": gelu},
            [randn(*shape, scale=scale)], [weight] + ([randn(out)] if bias else []), function)
    run("2d", "add", {}, [randn(3, 4), randn(3, 4)], [], lambda x, _: x[0] + x[1])


def text():
    for name, shape in [("2d", (4, 8)), ("3d", (2, 3, 17))]:
        w = shape[-1]
        run(name, "layer_norm", {"eps": 1e-5}, [randn(*shape) * 3 + 1], [randn(w), randn(w)],
            lambda x, p: F.layer_norm(x[0], (x[0].shape[-1],), p[0], p[1], 1e-5))
    tokens = i32([[1, 0, 6, 6], [6, 2, 1, 3], [0, 0, 0, 0]])
    run("repeats", "embed", {}, [tokens], [randn(9, 5), randn(6, 5)],
        lambda x, p: p[0][x[0].long()] + p[1][:x[0].shape[1]])
    for name, t, length, width, heads in [("two_heads", 2, 5, 8, 2), ("one_head", 1, 4, 6, 1),
                                          ("one_token", 2, 1, 4, 2), ("odd", 3, 7, 15, 3)]:
        def attention(x, _):
            q, k, v = x[0].view(t, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return y.transpose(1, 2).reshape(t, length, width)
        run(name, "attention", {"heads": heads}, [randn(t, length, 3 * width, scale=1.5)], [], attention)
    index = i32([3, 0, 1])
    run("ends", "select_row", {}, [randn(3, 4, 5), index], [],
        lambda x, _: x[0][torch.arange(3), x[1].long()])
    run("rows", "l2_normalize", {}, [randn(4, 6)], [], lambda x, _: F.normalize(x[0], dim=-1))
    tiny = randn(3, 5)
    tiny[1] *= 1e-14
    tiny[2] = 0
    run("tiny", "l2_normalize", {}, [tiny], [], lambda x, _: F.normalize(x[0], dim=-1))
    group = i32([2, 0, 0, 1, 2, 0])

    def group_mean(x, _):
        one_hot = F.one_hot(x[1].long(), 3).double()
        return (one_hot / one_hot.sum(0)).T @ x[0]
    run("uneven", "group_mean", {}, [randn(6, 4), group], [], group_mean)


def contrastive_by_definition(s, y, multi_positive):
    if multi_positive:
        same = (y[:, None] == y[None, :]).double()
        target = same / same.sum(1, keepdim=True)
    else:
        target = torch.eye(len(y), dtype=torch.float64)
    row = -(target * F.log_softmax(s, 1)).sum(1).mean()
    column = -(target.T * F.log_softmax(s, 0)).sum(0).mean()
    return (row + column) / 2


def loss():
    """The loss is written over all B x B pairs, as its users define it."""
    def case(name, superclip=1, focal=0, multi=0, labels=(0, 2, 2, 1, 0, 2, 4), weights=None, alpha=0.25,
             gamma=2.0, tau=0.3, tau0=0.07, parts=(1.0, 1.0), classes=5):
        y = i32(labels)
        b, e = len(labels), 6
        w = randn(classes).abs() + 0.2 if weights is None else torch.tensor(weights).double()
        x, t = (leaf(F.normalize(randn(n, e), dim=-1)) for n in (b, classes))
        temperature = leaf(torch.tensor(tau, dtype=torch.float64))
        logits = x @ t.T / temperature
        contrastive = contrastive_by_definition(x @ t[y.long()].T / tau0, y, multi)
        if not superclip:
            class_loss = torch.zeros((), dtype=torch.float64)
            total = contrastive
        else:
            if focal:
                ce = F.cross_entropy(logits, y.long(), reduction="none")
                class_loss = (alpha * (1 - torch.exp(-ce)) ** gamma * ce).mean()
            elif float(w[y.long()].sum()) == 0:
                class_loss = (logits * 0).sum()
            else:
                class_loss = F.cross_entropy(logits, y.long(), weight=w)
            total = parts[0] * class_loss + parts[1] * contrastive
        total.backward()
        grad = temperature.grad if temperature.grad is not None else torch.zeros_like(temperature)
        golden.case(f"superclip_loss/{name}", "superclip_loss",
                    {"superclip": superclip, "class_weight": parts[0], "contrastive_weight": parts[1],
                     "focal": focal, "focal_alpha": alpha, "focal_gamma": gamma, "tau0": tau0,
                     "multi_positive": multi},
                    {"in0": x, "in1": t, "in2": y, "in3": w, "param0": temperature,
                     "out0": torch.stack([total, class_loss, contrastive]), "out1": logits,
                     "dout0": torch.tensor([1.0, 0, 0]).double(), "din0": x.grad, "din1": t.grad,
                     "dparam0": grad})

    case("weights")
    case("plain", weights=[1.0] * 5)
    case("parts", parts=(0.7, 1.9))
    case("absent_class_weight", weights=[0.0, 1.0, 2.0, 0.5, 0.0])
    case("weights_sum_0", weights=[0.0] * 5)
    case("focal", focal=1)
    case("focal_gamma_half", focal=1, gamma=0.5, alpha=1.5)
    case("focal_gamma_0", focal=1, gamma=0.0)
    case("multi_positive", multi=1)
    case("multi_positive_focal", multi=1, focal=1, parts=(1.0, 0.5))
    case("contrastive_only", superclip=0)
    case("contrastive_only_multi_positive", superclip=0, multi=1)
    case("one_row", labels=(3,))
    case("one_class_in_batch", labels=(1, 1, 1))
    case("all_different", labels=(4, 2, 0, 1, 3))
    case("cold", tau=0.02, tau0=0.01)
    case("two_classes", labels=(0, 1, 1, 0), classes=2)


ACTIVATIONS = {"gelu": (2, F.gelu), "silu": (3, F.silu), "relu": (4, F.relu), "relu6": (5, F.relu6),
               "sigmoid": (6, torch.sigmoid)}


def activations():
    for name, (number, function) in ACTIVATIONS.items():
        run(name, "activate", {"activation": number}, [randn(3, 23, scale=4.0)], [],
            lambda x, _, f=function: f(x[0]))
    for name in ("gelu", "silu"):
        number, function = ACTIVATIONS[name]
        run(f"exact_{name}", "linear", {"activation": number}, [randn(4, 5)], [randn(7, 5), randn(7)],
            lambda x, p, f=function: f(F.linear(x[0], p[0], p[1])))


def biases():
    for name, n, c, h, w, o, k, stride, pad in [("bias", 2, 5, 7, 6, 9, 3, 1, 1), ("patches", 2, 3, 9, 8, 6, 4, 4, 0),
                                                ("bias_1x1", 1, 6, 3, 4, 17, 1, 1, 0)]:
        run(name, "conv2d", {"stride": stride, "pad": pad, "kernel": k}, [randn(n, c, h, w)],
            [randn(o, c, k, k, scale=0.4), randn(o)],
            lambda x, p, s=stride, d=pad: F.conv2d(x[0], p[0], p[1], stride=s, padding=d))
    run("matrix", "conv2d", {"stride": 1, "pad": 0, "kernel": 1}, [randn(2, 6, 3, 5)], [randn(9, 6), randn(9)],
        lambda x, p: F.conv2d(x[0], p[0][:, :, None, None], p[1]))


def channels():
    """Enough channels for blocks, of which the last is not full."""
    for name, n, c, h, w, k, stride, pad, bias in [
            ("3x3", 2, 6, 7, 9, 3, 1, 1, 0), ("3x3_stride2", 1, 9, 8, 7, 3, 2, 1, 0),
            ("5x5_stride2", 1, 5, 9, 8, 5, 2, 2, 1), ("7x7", 1, 18, 6, 9, 7, 1, 3, 1),
            ("one_pixel", 2, 7, 1, 1, 5, 1, 2, 1), ("stride3", 1, 5, 8, 10, 4, 3, 1, 1)]:
        run(name, "depthwise_conv2d", {"stride": stride, "pad": pad, "kernel": k}, [randn(n, c, h, w)],
            [randn(c, 1, k, k, scale=0.4)] + ([randn(c)] if bias else []),
            lambda x, p, s=stride, d=pad, c=c: F.conv2d(x[0], p[0], p[1] if len(p) > 1 else None, stride=s,
                                                        padding=d, groups=c))
    for name, n, c, h, w in [("small", 2, 7, 3, 5), ("blocks", 1, 35, 2, 3)]:
        run(name, "channel_norm", {"eps": 1e-6}, [randn(n, c, h, w) * 2 + 1], [randn(c), randn(c)],
            lambda x, p, c=c: F.layer_norm(x[0].permute(0, 2, 3, 1), (c,), p[0], p[1], 1e-6).permute(0, 3, 1, 2))
        run(name, "layer_scale", {}, [randn(n, c, h, w), randn(n, c, h, w)], [randn(c)],
            lambda x, p: x[0] + x[1] * p[0][:, None, None])
        run(name, "scale_channels", {}, [randn(n, c, h, w), randn(n, c)], [],
            lambda x, _: x[0] * x[1][:, :, None, None])
    for name, number, function in [("plain", 0, lambda v: v), ("relu6", 5, F.relu6)]:
        run(name, "multiply", {"activation": number}, [randn(3, 11, scale=4.0), randn(3, 11)], [],
            lambda x, _, f=function: f(x[0]) * x[1])
    run("kernel", "linear", {"activation": 3}, [randn(3, 6)], [randn(4, 6, 1, 1), randn(4)],
        lambda x, p: F.silu(F.conv2d(x[0][:, :, None, None], p[0], p[1]))[:, :, 0, 0])


if __name__ == "__main__":
    conv()
    batch_norm()
    pools()
    linear()
    text()
    loss()
    activations()
    biases()
    channels()
    golden.write(sys.argv[1])

"""The image towers that come from timm (`pip install timm`), by the program's names, and their initial values."""
import timm
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import _gen_efficientnet
from timm.models.starnet import StarNet

FULL = ["convnext-tiny", "convnext-small", "convnext-base", "efficientnet-b0", "efficientnet-b1",
        "efficientnet-b2", "efficientnet-b3", "starnet_s1", "starnet_s2", "starnet_s3", "starnet_s4"]
SMALL = {  # for tests
    "convnext-mini": lambda: ConvNeXt(depths=(1, 1, 1, 1), dims=(24, 40, 48, 72), num_classes=0),
    "efficientnet-mini": lambda: _gen_efficientnet("efficientnet_b0", 0.35, 0.4, num_classes=0),
    "starnet-mini": lambda: StarNet(8, [1, 1, 1, 1], 3, num_classes=0)}


def is_timm(name):
    return name in FULL or name in SMALL


def make_backbone(name):
    """The model without its classifier; .num_features is the width of what it gives."""
    if name in SMALL:
        return SMALL[name]()
    return timm.create_model(name.replace("-", "_"), pretrained=False, num_classes=0)


def initial_rule(encoder, name, p, weight):
    """(kind, a) of parameter `name` of the tower; weight: the parameter NAME.weight beside a bias."""
    last = name.rsplit(".", 1)[-1]
    if last == "gamma":
        return "constant", 1e-6
    if last == "weight" and p.dim() == 1:
        return "constant", 1.0
    if last == "bias" and encoder.startswith("starnet") and name.endswith(".conv.bias"):
        return "uniform", weight[0].numel() ** -0.5
    if last == "bias":
        return "constant", 0.0
    if not encoder.startswith("efficientnet"):
        return "normal", 0.02
    depthwise = ".conv_dw." in name
    return "normal", (2.0 / ((1 if depthwise else p.shape[0]) * p.shape[2] * p.shape[3])) ** 0.5

"""The towers that come from Hugging Face (`pip install "transformers<5"`: 5 renamed ViT's parameters), by the
program's names, and their initial values."""
import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {  # width, heads, layers, inner width
    "vit": (768, 12, 12, 3072), "vit-tiny": (64, 2, 2, 128),
    "bert-base-chinese": (768, 12, 12, 3072), "bert-tiny": (64, 2, 2, 128)}


def is_hf(name):
    return name in SHAPES


def config(name, of, **more):
    width, heads, layers, inner = SHAPES[name]
    return of(hidden_size=width, num_attention_heads=heads, num_hidden_layers=layers, intermediate_size=inner,
              hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **more)


def make_backbone(name, img_size):
    """An image tower; .num_features is the width of what it gives."""
    from transformers import ViTConfig, ViTModel

    class Backbone(ViTModel):
        def forward(self, x):
            return super().forward(x).last_hidden_state[:, 0]
    backbone = Backbone(config(name, ViTConfig, image_size=img_size))
    backbone.num_features = SHAPES[name][0]
    return backbone


class TextEncoder(nn.Module):
    def __init__(self, name, embed_dim, vocabulary):
        super().__init__()
        from transformers import BertConfig, BertModel
        self.backbone = BertModel(config(name, BertConfig, vocab_size=vocabulary))
        self.projection = nn.Linear(SHAPES[name][0], embed_dim)

    def forward(self, ids):
        """ids: lists of token ids of any lengths, [CLS] and [SEP] included -> unit features."""
        width = max(len(row) for row in ids)
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        out = self.backbone(input_ids=tokens, attention_mask=mask)
        return F.normalize(self.projection(out.last_hidden_state[:, 0]), dim=-1)


def initial_rule(name):
    """(kind, a) of a parameter of either tower's backbone."""
    if name.endswith("bias"):
        return "constant", 0.0
    norm = "LayerNorm" in name or "layernorm" in name
    return ("constant", 1.0) if norm else ("normal", 0.02)

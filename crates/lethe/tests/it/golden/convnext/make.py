"""torchvision 0.26's ConvNeXt of the blocks of convnext_tiny and 2 channels, in float64: a part of the map and the pooled
features of every stage, the gradients of all tensors, and the names and shapes of the full one.

  https://github.com/pytorch/vision/blob/v0.20.0/torchvision/models/convnext.py

The weights are formulas, the same in the test. Usage: make.py OUT
"""

import json
import sys

import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.convnext import CNBlockConfig, ConvNeXt


def formula(shape, seed):
    n = torch.Size(shape).numel()
    return torch.sin((torch.arange(n, dtype=torch.float64) + 1) * 0.7 + seed).reshape(shape)


def weights(state):
    held = {}
    for seed, (name, t) in enumerate(state.items()):
        x = formula(t.shape, seed)
        if t.dim() in (2, 4):
            x = x / t[0].numel() ** 0.5
        elif name.endswith("bias"):
            x = 0.3 * x
        else:
            x = 1 + 0.3 * x
        held[name] = x
    return held


out = {}
w = 2
blocks = [CNBlockConfig(w, 2 * w, 3), CNBlockConfig(2 * w, 4 * w, 3), CNBlockConfig(4 * w, 8 * w, 9), CNBlockConfig(8 * w, None, 3)]
model = ConvNeXt(blocks).double()
model.classifier = torch.nn.Identity()
model.load_state_dict(weights(model.state_dict()))
images = formula((2, 3, 64, 64), 0.5).requires_grad_()
x, maps = images, {}
for i, layer in enumerate(model.features):
    x = layer(x)
    if i % 2 or i == 0:
        maps["stem" if i == 0 else f"stage{i // 2 + 1}"] = x
for stage, x in maps.items():
    out[f"{stage}/map"] = x[:1, :4]
    out[f"{stage}/pooled"] = x.mean((2, 3))
pooled = out["stage4/pooled"]
loss = (pooled * formula(pooled.shape, 3)).sum() + (out["stage1/pooled"] * formula(out["stage1/pooled"].shape, 4)).sum()
loss.backward()
out["gradient/images"] = images.grad[:1, :, :16, :16]
out |= {f"gradient/{name}": p.grad for name, p in model.named_parameters()}

with torch.device("meta"):
    full = torchvision.models.convnext_tiny(weights=None)
full.classifier = torch.nn.Identity()
keys = json.dumps([[k, list(v.shape)] for k, v in full.state_dict().items()])
out["keys"] = torch.tensor(list(keys.encode()), dtype=torch.uint8)
save_file({k: v.detach().contiguous() for k, v in out.items()}, sys.argv[1])

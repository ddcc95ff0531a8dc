"""torchvision 0.26's ResNets: pooled features and a part of the map of every stage, in training and evaluation mode.

The weights are those of `resnet18(weights=None)` after `torch.manual_seed(0)`; the test draws the same numbers through
libtorch in the same order, so that no weights need to be stored. Usage: make.py OUT
"""

import sys

import torch
import torchvision
from safetensors.torch import save_file

CASES = {
    "resnet18": (torchvision.models.resnet18, None),
    "resnet18-cifar": (torchvision.models.resnet18, 1),
    "resnet34": (torchvision.models.resnet34, None),
    "resnet50": (torchvision.models.resnet50, None),
    # As solo-learn builds it for CIFAR (solo/methods/base.py).
    "resnet18-cifar-pad2": (torchvision.models.resnet18, 2),
    "resnet50-cifar": (torchvision.models.resnet50, 1),
}


def stages(model, x):
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    yield "stem", x
    for i, layer in enumerate([model.layer1, model.layer2, model.layer3, model.layer4], 1):
        x = layer(x)
        yield f"stage{i}", x


out = {}
generator = torch.Generator().manual_seed(1)
for case, (build, padding) in CASES.items():
    torch.manual_seed(0)
    model = build(weights=None)
    if padding:
        model.conv1 = torch.nn.Conv2d(3, 64, 3, 1, padding, bias=False)
        model.maxpool = torch.nn.Identity()
    size = 16 if padding else 48
    images = torch.randn(2, 3, size, size, generator=generator)
    out[f"{case}/images"] = images
    for mode in ["train", "eval"]:
        model.train(mode == "train")
        with torch.no_grad():
            for stage, x in stages(model, images):
                out[f"{case}/{mode}/{stage}/pooled"] = x.mean((2, 3)).contiguous()
                out[f"{case}/{mode}/{stage}/map"] = x[:1, :4].contiguous()
    for name in ["bn1", "layer4.1.bn2"]:
        module = model.get_submodule(name)
        out[f"{case}/{name}.running_mean"] = module.running_mean.clone()
        out[f"{case}/{name}.running_var"] = module.running_var.clone()
save_file(out, sys.argv[1])

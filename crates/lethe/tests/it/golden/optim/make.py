"""Five steps of SGD, Adam and AdamW by torch.optim, and of LARS as in solo-learn's solo/utils/lars.py
(https://github.com/vturrisi/solo-learn, commit 9187ea3: eta 0.02, clip_lr, exclude_bias_n_norm), in float64.
Usage: make.py OUT
"""

import sys

import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
SHAPES = {"a.weight": (4, 3, 3, 3), "b.weight": (5, 6), "b.bias": (5,)}
start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
# One step has a zero gradient; one gradient is small, so that LARS is clipped, one large, so that it is not.
gradients = [{name: scale * torch.randn(shape) for name, shape in SHAPES.items()} for scale in [1, 0.01, 0, 30, 1]]
rates = [0.1, 0.2, 0.3, 0.2, 0.1]


class Lars(torch.optim.Optimizer):
    def __init__(self, parameters, weight_decay):
        super().__init__(parameters, dict(lr=0.0, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for p in group["params"]:
            d = p.grad.clone()
            size, slope = p.norm(), p.grad.norm()
            if p.ndim > 1 and size != 0 and slope != 0:
                local = 0.02 * size / (slope + size * group["weight_decay"] + 1e-8)
                d = (d + group["weight_decay"] * p) * min(local / group["lr"], 1)
            buffer = self.state[p].get("buffer")
            buffer = d if buffer is None else 0.9 * buffer + d
            self.state[p]["buffer"] = buffer
            p -= group["lr"] * buffer


out = {f"start/{name}": value for name, value in start.items()}
for step, of in enumerate(gradients):
    out |= {f"gradient{step}/{name}": value for name, value in of.items()}
for kind, build in {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.0, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.0, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.0, weight_decay=1e-2),
    "lars": lambda p: Lars(p, 1e-2),
}.items():
    parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = build(list(parameters.values()))
    for step, of in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = rates[step]
        for name, parameter in parameters.items():
            parameter.grad = of[name].clone()
        optimizer.step()
        out |= {f"{kind}/step{step}/{name}": value.detach().clone() for name, value in parameters.items()}
save_file(out, sys.argv[1])

"""Values and gradients of the methods' losses in float64, by lightly 1.5/1.6. Usage: make.py OUT

  https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/ntx_ent_loss.py
  https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/vicreg_loss.py
  https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/negative_cosine_similarity.py

BYOL's paper minimises 2 - 2 cos summed over both directions; lightly averages -cos, so the test expects
4 + 4 * lightly's value and 4 times its gradient.
"""

import sys

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
out = {}


def case(name, loss, *inputs):
    value = loss(*inputs)
    for i, gradient in enumerate(torch.autograd.grad(value, [x for x in inputs if x.requires_grad])):
        out[f"{name}/gradient{i}"] = gradient.contiguous()
    out[f"{name}/value"] = value.detach()


for n, p in [(8, 5), (16, 32)]:
    # Views of an image agree in part, and the rows have a common mean, as projections do.
    base = torch.randn(n, p) + 0.5
    z1, z2 = [(base + 0.4 * torch.randn(n, p)).requires_grad_() for _ in range(2)]
    out[f"{n}x{p}/z1"], out[f"{n}x{p}/z2"] = z1.detach(), z2.detach()
    for temperature in [0.2, 0.5]:
        case(f"{n}x{p}/nt_xent-{temperature}", NTXentLoss(temperature=temperature), z1, z2)
    case(f"{n}x{p}/vicreg", VICRegLoss(), z1, z2)
    t1, t2 = [(base + 0.3 * torch.randn(n, p)) for _ in range(2)]
    out[f"{n}x{p}/t1"], out[f"{n}x{p}/t2"] = t1, t2
    cosine = NegativeCosineSimilarity()
    case(f"{n}x{p}/byol", lambda a, b: 0.5 * (cosine(a, t2) + cosine(b, t1)), z1, z2)
save_file(out, sys.argv[1])

"""The exchangeable parts of UMM with their gradients, from their formulas alone. PyTorch, float64.

    python make.py case.safetensors

kl        KL(p || u) of p ~ 1/norms
grouped   dR = R - R_c of the rows of two views, the images of the views in groups: d x d determinants, a loop over groups
clusters  images whose early features, pooled and averaged over the views, lie in three far clusters
match     ||mean_a - mean_b||^2 + ||cov_a - cov_b||_F^2 of unit rows (torch.cov: divided by rows - 1)
"""

import sys

import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
EPS2 = 0.5
tensors = {}


def leaf(name, *shape):
    tensors[name] = torch.randn(*shape)
    return tensors[name].clone().requires_grad_()


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


def keep(name, value, *leaves):
    tensors[name] = value.detach()
    for i, gradient in enumerate(torch.autograd.grad(value, leaves)):
        tensors[f"{name}.gradient{i}"] = gradient


norms = torch.rand(9) + 0.1
tensors["norms"] = norms.clone()
norms.requires_grad_()
p = (1 / norms) / (1 / norms).sum()
keep("kl", (p * torch.log(p * len(p))).sum(), norms)

n, d = 10, 6
groups = torch.randint(0, 3, (n,))
z1, z2 = leaf("z1", n, d), leaf("z2", n, d)
z = unit(torch.cat([z1, z2]))
owner = torch.cat([groups, groups])


def half_logdet(rows):
    m = len(rows)
    return torch.linalg.slogdet(torch.eye(d) + d / (m * EPS2) * rows.T @ rows)[1] / 2


compressed = sum((owner == j).sum() / (2 * n) * half_logdet(z[owner == j]) for j in range(3))
keep("grouped", half_logdet(z) - compressed, z1, z2)
tensors["groups"] = groups
centres = 50 * torch.randn(3, 5)
tensors["early"] = centres[groups][None, :, :, None, None] + torch.randn(2, n, 5, 3, 3)

a, b = leaf("a", 8, 5), leaf("b", 11, 5)
mean = (unit(a).mean(0) - unit(b).mean(0)).pow(2).sum()
keep("match", mean + (torch.cov(unit(a).T) - torch.cov(unit(b).T)).pow(2).sum(), a, b)

save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, sys.argv[1])

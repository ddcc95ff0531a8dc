"""Golden case of UMM: one outer step, written from the formulas alone. PyTorch 2.11, torchvision 0.26, float64.

    python make.py case.safetensors

An independent implementation: torchvision's BasicBlock (torchvision 0.26, torchvision/models/resnet.py) in its own
chain, `torch.autograd.grad` on modules, `torch.slogdet` and the d x d sum over groups for the coding rates.

L_in = L_ssl + beta JS(p || u), p_i ~ 1 / ||dL_ssl/dz_i||; L_out = L_ssl - lambda dR(projections, view pairs).
Hypergradients, g = grad L_out(theta - alpha grad L_in(theta)):
    first_order        g
    finite_difference  g - alpha (grad L_in(theta + e g) - grad L_in(theta - e g)) / (2e), e = 0.01 / ||g||
The finite difference is that of DARTS (equation 8 of arXiv 1806.09055), WITH the factor alpha. Betty's
(https://github.com/leopard-ai/betty/blob/v0.2.1/betty/hypergradient/darts.py) has no alpha: it takes the inverse
Hessian for the identity. This case is not Betty's.
"""

import copy
import math
import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock

WIDTH, SIDE, N = 2, 8, 6
HIDDEN, OUT, TEMPERATURE = 16, 8, 0.2
ALPHA, BETA, LAMBDA, EPS2, LR = 0.002, 3.0, 0.4, 0.5, 0.1


def stage(i, o, stride):
    shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride != 1 else None
    return nn.Sequential(BasicBlock(i, o, stride, shortcut), BasicBlock(o, o))


class Early(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, w, 3, 1, 1, bias=False), nn.BatchNorm2d(w)
        self.layer1, self.layer2 = stage(w, w, 1), stage(w, 2 * w, 2)

    def forward(self, x):
        return self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))


class Late(nn.Module):
    """The stages after the cut, and the head."""

    def __init__(self, w):
        super().__init__()
        self.layer3, self.layer4 = stage(2 * w, 4 * w, 2), stage(4 * w, 8 * w, 2)
        self.projector = nn.Sequential(nn.Linear(8 * w, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT))

    def forward(self, z):
        return self.projector(self.layer4(self.layer3(z)).mean(dim=(2, 3)))


def nt_xent(z1, z2):
    """The mean over the 2n views of -ln(exp(s_twin / T) / sum over the others of exp(s / T))."""
    n = len(z1)
    z = torch.cat([z1, z2])
    z = z / z.norm(dim=1, keepdim=True)
    similarity = torch.exp(z @ z.T / TEMPERATURE)
    losses = [-torch.log(similarity[i, (i + n) % (2 * n)] / (similarity[i].sum() - similarity[i, i])) for i in range(2 * n)]
    return torch.stack(losses).mean()


def coding_rate_reduction(z1, z2):
    z = torch.cat([z1, z2])
    z = z / z.norm(dim=1, keepdim=True)
    m, d = z.shape
    identity = torch.eye(d, dtype=z.dtype)
    rate = torch.linalg.slogdet(identity + d / (m * EPS2) * z.T @ z)[1] / 2
    compressed = 0
    for i in range(m // 2):
        group = z[[i, i + m // 2]]
        compressed = compressed + 2 / (2 * m) * torch.linalg.slogdet(identity + d / (2 * EPS2) * group.T @ group)[1]
    return rate - compressed


def jensen_shannon(norms):
    p = (1 / norms) / (1 / norms).sum()
    u = torch.full_like(p, 1 / len(p))
    m = (p + u) / 2
    return ((p * torch.log(p / m)).sum() + (u * torch.log(u / m)).sum()) / 2


def inner(late, early):
    leaves = [z.detach().requires_grad_() for z in early]
    ssl = nt_xent(*[late(z) for z in leaves])
    gradients = torch.autograd.grad(ssl, leaves, create_graph=True)
    norms = torch.cat([g.reshape(N, -1).pow(2).sum(1).sqrt() for g in gradients])
    assert norms.min() > 1e-6
    js = jensen_shannon(norms)
    return ssl + BETA * js, ssl, js


def outer(late, early):
    projections = [late(z) for z in early]
    reduction = coding_rate_reduction(*projections)
    return nt_xent(*projections) - LAMBDA * reduction, reduction


def at(late, values):
    """A copy of `late` with other parameters; its running statistics are thrown away with it."""
    other = copy.deepcopy(late)
    with torch.no_grad():
        for parameter, value in zip(other.parameters(), values):
            parameter.copy_(value)
    return other


def gradient(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()))


def norm(gradients):
    return flat(gradients).norm()


def flat(values):
    return torch.cat([v.detach().flatten() for v in values])


def sampled(values):
    """Every 16th value of all parameters in a row, and their norm: enough to tell, and small."""
    values = flat(values)
    return torch.cat([values[::16], values.norm()[None]])


def main(path):
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    early_net, late = Early(WIDTH), Late(WIDTH)
    for module in [*early_net.modules(), *late.modules()]:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    for module in [early_net, late]:  # to values that float32 holds too, as which they are stored
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in module.state_dict().items()})
    tensors = {}

    weights = {**early_net.state_dict(), **late.state_dict()}
    tensors.update({f"weights.{name}": w.float() if w.is_floating_point() else w for name, w in weights.items()})
    images = torch.randn(2, N, 3, SIDE, SIDE).float().double()
    tensors["views"] = images.float()
    early_net.eval()
    late.train()
    with torch.no_grad():
        early = [early_net(x) for x in images]
    tensors["early"] = torch.stack(early)

    theta = [p.detach().clone() for p in late.parameters()]
    probe = at(late, theta)
    total, ssl, js = inner(probe, early)
    slope = gradient(total, probe)
    tensors.update(ssl=ssl, js=js, inner=total)
    tensors["inner_gradient"] = flat(slope)
    probe = at(late, theta)
    loss, reduction = outer(probe, early)
    tensors["reduction"] = reduction
    tensors["reduction_gradient"] = sampled(gradient(reduction, probe))

    star = at(late, [p - ALPHA * s for p, s in zip(theta, slope)])
    tensors["star"] = sampled(star.parameters())
    loss, reduction = outer(star, early)
    tensors.update(outer=loss, star_reduction=reduction)
    g = gradient(loss, star)
    tensors["first_order"] = sampled(g)

    e = 0.01 / norm(g)
    ends = []
    for sign in (1, -1):
        probe = at(late, [p + sign * e * v for p, v in zip(theta, g)])
        ends.append(gradient(inner(probe, early)[0], probe))
    hypergradient = [v - ALPHA * (a - b) / (2 * e) for v, a, b in zip(g, *ends)]
    tensors["finite_difference"] = flat(hypergradient)

    # One outer step of SGD (its first, so that momentum has no effect); one pass over each view moves the statistics.
    for z in early:
        late(z)
    with torch.no_grad():
        for parameter, v in zip(late.parameters(), hypergradient):
            parameter -= LR * v
    tensors["after_statistics"] = flat(v for k, v in late.state_dict().items() if "running" in k)
    tensors["after"] = sampled(late.parameters())

    print("ssl", ssl.item(), "js", js.item(), "dR", tensors["reduction"].item(), "outer", loss.item())
    print("|g|", norm(g).item(), "|hypergradient|", norm(hypergradient).item())
    for key, value in dict(alpha=ALPHA, beta=BETA, eps2=EPS2, lr=LR, temperature=TEMPERATURE, **{"lambda": LAMBDA}).items():
        tensors[f"settings.{key}"] = torch.tensor(value)
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path)


if __name__ == "__main__":
    main(sys.argv[1])

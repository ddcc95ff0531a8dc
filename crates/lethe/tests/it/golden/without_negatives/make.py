"""Methods without negatives, float64: losses of projections with first and second derivatives, and five whole steps.

    python make.py case.safetensors

By lightly 1.6.0 (https://github.com/lightly-ai/lightly/tree/e8d317f/lightly/loss) where it has the loss of the paper:
    simsiam       negative_cosine_similarity.py
    barlow-twins  barlow_twins_loss.py
    tico          tico_loss.py, both directions as one batch
    w-mse         wmse_loss.py: its whitening and its distance, in given sub-batches
    emp-ssl       emp_ssl_loss.py, but for the sign of the coding rate: the authors subtract it from what is minimised
                  (https://github.com/tsb0601/EMP-SSL/blob/bce1514c61e0fd12984fc3d849024f8cc960b6d4/loss.py)
else from the formulas, as the authors' code has them:
    mec           https://github.com/xinliu20/MEC/blob/35045dc01f69712bae4a755881060fb6807ce238/main_pretrain.py
    corinfomax    https://github.com/serdarozsoy/corinfomax-ssl/blob/bd3f9eb54c8d6812b779566e70500a164f1be455/cifars-tiny/loss.py
    mmcr          https://github.com/ThomasYerxa/mmcr/blob/287db455283a27383006a7fe4e3c6169a4650933/mmcr/cifar_stl/loss_mmcr.py

CASE/value, CASE/gradient{i} and CASE/second{i}, the gradient of the sum of all squared first derivatives.
steps/METHOD/before/NAME: weights and memory at the start; steps/METHOD/loss and after: the loss of every step, and all
floating tensors after it, by name and flat. The network is the head alone, plain gradient descent trains it.
"""

import copy
import math
import sys

import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, TiCoLoss
from lightly.loss.emp_ssl_loss import invariance_loss, tcr_loss
from lightly.loss.wmse_loss import Whitening2d, norm_mse_loss
from safetensors.torch import save_file
from torch import nn

torch.set_default_dtype(torch.float64)
out = {}


def unit(z):
    return z / z.norm(dim=-1, keepdim=True)


# The losses.


def simsiam(p1, p2, z1, z2):
    cosine = NegativeCosineSimilarity()
    return (cosine(p1, z2.detach()) + cosine(p2, z1.detach())) / 2


def barlow_twins(z1, z2):
    return 0.1 * BarlowTwinsLoss(lambda_param=0.0051)(z1, z2)


def mec(p1, p2, t1, t2, inverse_lambda):
    def length(p, t):
        c = unit(p) @ unit(t).T / inverse_lambda
        series = sum((-1) ** (k + 1) / k * torch.linalg.matrix_power(c, k) for k in range(1, 5))
        return torch.trace(series) * inverse_lambda / len(p)

    return -(length(p1, t2) + length(p2, t1)) / 2


def corinfomax(z1, z2, memory):
    """Unit rows; `memory` is the list of (mean, covariance) of either view, and is changed."""
    loss = 250 * ((z1 - z2) ** 2).mean()
    for i, z in enumerate([z1, z2]):
        mean, covariance = memory[i]
        mean = 0.01 * mean + 0.99 * z.mean(dim=0)
        covariance = 0.01 * covariance + 0.99 * (z - mean).T @ (z - mean) / len(z)
        loss = loss - torch.linalg.slogdet(covariance + 1e-8 * torch.eye(z.shape[1]))[1] / z.shape[1]
        memory[i] = mean.detach(), covariance.detach()
    return loss


def mmcr(views, weight):
    def nuclear(x):
        gram = x @ x.T if len(x) <= x.shape[1] else x.T @ x
        return torch.linalg.eigvalsh(gram).sqrt().sum()

    z = torch.stack([unit(view) for view in views], dim=1)
    local = torch.stack([nuclear(image) for image in z]).mean() if weight else 0
    return weight * local - nuclear(z.mean(dim=1))


def w_mse(views, sub_batches):
    whitening = Whitening2d(views[0].shape[1], track_running_stats=False)
    whitened = []
    for view in views:
        z = torch.empty_like(view)
        for rows in sub_batches:
            z[rows] = whitening(view[rows])
        whitened.append(z)
    pairs = [(i, j) for i in range(len(views)) for j in range(i)]
    return sum(norm_mse_loss(whitened[i], whitened[j]) for i, j in pairs) / len(pairs)


def emp_ssl(views):
    z = torch.stack([unit(view) for view in views])
    return 200 * invariance_loss(z) - tcr_loss(z, 0.2)


# Projections in, loss out.


def projections(n, p, views=2):
    """Views of an image agree in part, and the rows have a common mean, as projections do."""
    base = torch.randn(n, p) + 0.5
    return [(base + 0.4 * torch.randn(n, p)) for _ in range(views)]


def case(name, loss, inputs):
    for i, z in enumerate(inputs):
        out[f"{name}/z{i}"] = z.clone()
    leaves = [z.clone().requires_grad_() for z in inputs]
    value = loss(*leaves)
    first = torch.autograd.grad(value, leaves, create_graph=True)
    second = torch.autograd.grad(sum((gradient**2).sum() for gradient in first), leaves)
    out[f"{name}/value"] = value.detach()
    for i, (a, b) in enumerate(zip(first, second)):
        out[f"{name}/gradient{i}"], out[f"{name}/second{i}"] = a.detach().contiguous(), b.contiguous()


torch.manual_seed(0)
for n, p in [(12, 5), (6, 9)]:
    shape = f"{n}x{p}"
    z1, z2, t1, t2 = projections(n, p, 4)
    for i, t in enumerate([t1, t2]):
        out[f"{shape}/t{i}"] = t
    case(f"{shape}/simsiam", lambda p1, p2: simsiam(p1, p2, t1, t2), [z1, z2])
    case(f"{shape}/barlow-twins", barlow_twins, [z1, z2])
    case(f"{shape}/mec", lambda p1, p2: mec(p1, p2, t1, t2, 3.0), [z1, z2])
    past = [(unit(t).mean(dim=0), torch.cov(unit(t).T) + torch.eye(p)) for t in [t1, t2]]
    for i, (mean, covariance) in enumerate(past):
        out[f"{shape}/mean{i}"], out[f"{shape}/covariance{i}"] = mean, covariance
    case(f"{shape}/corinfomax", lambda a, b: corinfomax(unit(a), unit(b), list(past)), [z1, z2])

    def tico(a, b):
        criterion = TiCoLoss()
        criterion.C = past[0][1]
        return criterion(torch.cat([a, b]), torch.cat([t2, t1]))

    case(f"{shape}/tico", tico, [z1, z2])
    views = projections(n, p, 3)
    case(f"{shape}/mmcr-0", lambda *z: mmcr(z, 0.0), views)
    case(f"{shape}/mmcr-0.3", lambda *z: mmcr(z, 0.3), views)
    case(f"{shape}/emp-ssl", lambda *z: emp_ssl(z), views)
sub_batches = torch.randperm(14).split(7)
for i, rows in enumerate(sub_batches):
    out[f"14x4/rows{i}"] = rows.clone()
case("14x4/w-mse", lambda *z: w_mse(z, sub_batches), projections(14, 4, 3))

# Five steps of a head.

D, HIDDEN, OUT, BOTTLENECK, N, LR = 5, 9, 3, 4, 8, 0.1


def mlp(*dims, bias=True, norm=True):
    layers = []
    for i, o in zip(dims, dims[1:]):
        if layers:
            layers += [nn.BatchNorm1d(i), nn.ReLU()] if norm else [nn.ReLU()]
        layers.append(nn.Linear(i, o, bias=bias))
    return layers


def siamese():
    projector = nn.Sequential(*mlp(D, HIDDEN, HIDDEN, OUT, bias=False), nn.BatchNorm1d(OUT, affine=False))
    predictor = nn.Sequential(*mlp(OUT, BOTTLENECK, OUT))
    predictor[0] = nn.Linear(OUT, BOTTLENECK, bias=False)
    return projector, predictor


def five_steps(name, projector, loss, predictor=None, tau=None, memory=dict):
    """`loss(project, predict, teach, views, epoch)`; `memory()` gives what it remembers, by name."""
    student = {"projector": projector} | ({"predictor": predictor} if predictor else {})
    if name == "corinfomax":
        projector[4] = nn.Linear(HIDDEN, OUT, bias=False)
    teacher = copy.deepcopy(projector)

    def state():
        tensors = {f"{part}.{k}": t for part, net in student.items() for k, t in net.state_dict().items()}
        return tensors | {f"memory.{k}": t for k, t in memory().items()}

    def teach(x):
        with torch.no_grad():
            return teacher(x)

    for key, tensor in state().items():
        out[f"steps/{name}/before/{key}"] = tensor.clone()
    parameters = [parameter for net in student.values() for parameter in net.parameters()]
    losses, after = [], []
    for step in range(5):
        views = [INPUTS[step, i] for i in range(2)]
        value = loss(projector, predictor, teach, views, 3.0 * step)
        for parameter, gradient in zip(parameters, torch.autograd.grad(value, parameters)):
            parameter.data -= LR * gradient
        losses.append(value.detach())
        tensors = state()
        if tau:
            momentum = 1 - (1 - tau) * (math.cos(math.pi * (step + 1) / 5) + 1) / 2
            for t, s in zip(teacher.parameters(), projector.parameters()):
                t.data.mul_(momentum).add_(s.data, alpha=1 - momentum)
            tensors |= {f"teacher.projector.{k}": t for k, t in teacher.state_dict().items()}
        after.append(torch.cat([tensors[k].flatten() for k in sorted(tensors) if "tracked" not in k]))
    out[f"steps/{name}/loss"], out[f"steps/{name}/after"] = torch.stack(losses), torch.stack(after)


torch.manual_seed(1)
base = torch.randn(5, 1, N, D)
INPUTS = base + 0.5 * torch.randn(5, 2, N, D)
out["steps/inputs"] = INPUTS


def simsiam_step(project, predict, teach, views, epoch):
    z = [project(x) for x in views]
    return simsiam(*[predict(z) for z in z], *z)


def mec_step(project, predict, teach, views, epoch):
    inverse_lambda = (8 - 7 * min(epoch / 10, 1)) * N * 64 / OUT
    return mec(*[predict(project(x)) for x in views], *[teach(x) for x in views], inverse_lambda)


corinfomax_memory = [(torch.zeros(OUT), torch.eye(OUT)) for _ in range(2)]


def corinfomax_step(project, predict, teach, views, epoch):
    return corinfomax(*[unit(project(x)) for x in views], corinfomax_memory)


def corinfomax_state():
    named = [(f"mean{i + 1}", m) for i, (m, _) in enumerate(corinfomax_memory)]
    return dict(named + [(f"covariance{i + 1}", c) for i, (_, c) in enumerate(corinfomax_memory)])


tico_loss = TiCoLoss()


def tico_step(project, predict, teach, views, epoch):
    z, t = [project(x) for x in views], [teach(x) for x in views]
    return tico_loss(torch.cat(z), torch.cat(t[::-1]))


def tico_state():
    return {"covariance": torch.zeros(OUT, OUT) if tico_loss.C is None else tico_loss.C}


def of_projections(loss):
    return lambda project, predict, teach, views, epoch: loss([project(x) for x in views])


projector, predictor = siamese()
five_steps("simsiam", projector, simsiam_step, predictor)
five_steps("barlow-twins", nn.Sequential(*mlp(D, HIDDEN, HIDDEN, OUT)), of_projections(lambda z: barlow_twins(*z)))
projector, predictor = siamese()
five_steps("mec", projector, mec_step, predictor, tau=0.996)
projector = nn.Sequential(*mlp(D, HIDDEN, HIDDEN, OUT, norm=False))
five_steps("corinfomax", projector, corinfomax_step, memory=corinfomax_state)
five_steps("tico", nn.Sequential(*mlp(D, HIDDEN, OUT)), tico_step, tau=0.99, memory=tico_state)
five_steps("mmcr", nn.Sequential(*mlp(D, HIDDEN, OUT, bias=False)), of_projections(lambda z: mmcr(z, 0.0)))
five_steps("w-mse", nn.Sequential(*mlp(D, HIDDEN, OUT)), of_projections(lambda z: w_mse(z, [torch.arange(N)])))
five_steps("emp-ssl", nn.Sequential(*mlp(D, HIDDEN, HIDDEN, OUT)), of_projections(emp_ssl))
save_file(out, sys.argv[1])

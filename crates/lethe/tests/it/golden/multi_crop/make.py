"""SwAV, DINO and SimDINO in float64: values and gradients of their losses, and five whole steps of each with multi-crop.

References: lightly 1.6.0 for the losses of SwAV (https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/swav_loss.py)
and DINO (https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/dino_loss.py), the latter with its centre and its
warm-up. SimDINO is written out from
https://github.com/RobinWu218/SimDINO/blob/645b37d7f7400c44dfa65a8e278296feb51e23c7/simdino/main_dino.py (MCRLoss with
expa_type 1: the coding rate of the mean of student and teacher), as a p x p determinant. The networks are torchvision 0.26's
BasicBlock in its own chain, DINO's last layer `torch.nn.utils.weight_norm` with lengths of 1.

    python make.py case.safetensors

A step is gradient descent on the whole network; then DINO's centre moves, SwAV's queue takes the newest projections and its
prototypes are scaled to unit length (as https://github.com/facebookresearch/swav/blob/06b1b7cbaf6ba2a792300d79c7299db98b93b7f9/main_swav.py
does before the next step), and the teacher follows. Local views are smaller; the teacher sees none.
"""

import copy
import math
import sys

import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, SwaVLoss
from lightly.loss.swav_loss import sinkhorn
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock

torch.set_default_dtype(torch.float64)
torch.manual_seed(5)
out = {}


def case(name, value, inputs):
    out[f"{name}/value"] = value.detach().reshape([])
    for i, gradient in enumerate(torch.autograd.grad(value, inputs)):
        out[f"{name}/gradient{i}"] = gradient.contiguous()


def cosines(n, k, count):
    """Of views that agree in part."""
    base = torch.randn(n, k)
    return [torch.tanh(0.3 * base + 0.2 * torch.randn(n, k)).requires_grad_() for _ in range(count)]


def simdino(student, teacher, eps2=0.5):
    student, teacher = [F.normalize(z) for z in student], [F.normalize(z) for z in teacher]
    pairs = [(s * t).sum(1).mean() for i, t in enumerate(teacher) for j, s in enumerate(student) if i != j]
    n, p = student[0].shape
    expansion = 0
    for s, t in zip(student, teacher):
        z = (s + t) / 2
        expansion = expansion + torch.linalg.slogdet(torch.eye(p) + p / (n * eps2) * z.T @ z)[1] / 2
    gamma = (p + n) / (p * n)
    return -sum(pairs) / len(pairs) - gamma * expansion / len(teacher)


# ---- losses

for n, k in [(8, 5), (6, 24)]:
    scores = cosines(n, k, 4)
    queued = [torch.tanh(torch.randn(9, k)) for _ in range(2)]
    for i, z in enumerate(scores):
        out[f"swav-{n}x{k}/scores{i}"] = z.detach()
    for i, z in enumerate(queued):
        out[f"swav-{n}x{k}/queued{i}"] = z
    out[f"swav-{n}x{k}/codes"] = sinkhorn(scores[0].detach()).contiguous()
    case(f"swav-{n}x{k}", SwaVLoss()(scores[:2], scores[2:]), scores)
    case(f"swav-{n}x{k}/queue", SwaVLoss()(scores[:2], scores[2:], queued), scores)

    student, teacher = cosines(n, k, 4), [z.detach() for z in cosines(n, k, 2)]
    loss = DINOLoss(output_dim=k, warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=3)
    centre = 0.1 * torch.randn(k)
    loss.center.copy_(centre)
    for i, z in enumerate(student):
        out[f"dino-{n}x{k}/student{i}"] = z.detach()
    for i, z in enumerate(teacher):
        out[f"dino-{n}x{k}/teacher{i}"] = z
    out[f"dino-{n}x{k}/centre"] = centre
    case(f"dino-{n}x{k}", loss(teacher, student, epoch=2), student)

    student = [torch.randn(n, k).requires_grad_() for _ in range(4)]
    teacher = [z.detach() + 0.5 * torch.randn(n, k) for z in student[:2]]
    for i, z in enumerate(student):
        out[f"simdino-{n}x{k}/student{i}"] = z.detach()
    for i, z in enumerate(teacher):
        out[f"simdino-{n}x{k}/teacher{i}"] = z
    case(f"simdino-{n}x{k}", simdino(student, teacher), student)


# ---- five steps

WIDTH, N, HIDDEN, OUT, PROTOTYPES, QUEUE, STEPS = 2, 4, 12, 6, 7, 10, 5
EPOCHS = [0.0, 0.5, 1.0, 1.5, 2.0]
LR = {"swav": 0.05, "dino": 0.05, "simdino": 0.2}
BASE_TAU = 0.9
views = [torch.randn(N, 3, 8, 8).float().double() for _ in range(2)] + [torch.randn(N, 3, 6, 6).float().double() for _ in range(2)]
for i, view in enumerate(views):
    out[f"views/{i}"] = view.float()


def stage(i, o, stride):
    shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride != 1 else None
    return nn.Sequential(BasicBlock(i, o, stride, shortcut), BasicBlock(o, o))


class Net(nn.Module):
    def __init__(self, method):
        super().__init__()
        w = WIDTH
        self.conv1, self.bn1 = nn.Conv2d(3, w, 3, 1, 1, bias=False), nn.BatchNorm2d(w)
        self.layer1, self.layer2 = stage(w, w, 1), stage(w, 2 * w, 2)
        self.layer3, self.layer4 = stage(2 * w, 4 * w, 2), stage(4 * w, 8 * w, 2)
        d = 8 * w
        if method == "swav":
            self.projector = nn.Sequential(nn.Linear(d, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT))
        else:
            layers = [nn.Linear(d, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, OUT)]
            self.projector = nn.Sequential(*layers)
        if method != "simdino":
            self.prototypes = nn.Linear(OUT, PROTOTYPES, bias=False)
            for parameter in self.prototypes.parameters():
                parameter.data = F.normalize(torch.randn_like(parameter))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3))
        return F.normalize(self.projector(x))


def weight_normed(net):
    """DINO's last layer: directions in weight_v, fixed lengths in weight_g."""
    net.prototypes = nn.utils.weight_norm(net.prototypes)
    net.prototypes.weight_g.data.fill_(1)
    net.prototypes.weight_g.requires_grad_(False)
    return net


def trained(net):
    return {name.replace("weight_v", "weight"): p for name, p in net.named_parameters() if p.requires_grad}


def sampled(values):
    """Every 64th value of all parameters in a row, and their norm."""
    values = torch.cat([v.detach().flatten() for v in values])
    return torch.cat([values[::64], values.norm()[None]])


encoder = {}  # one for all three


def steps(method):
    net = Net(method)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    # To values that float32 holds too, as which they are stored.
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in net.state_dict().items()})
    encoder.update({name: value.clone() for name, value in net.state_dict().items() if not name.startswith("pro") and name not in encoder})
    net.load_state_dict({**net.state_dict(), **encoder})
    for name, value in net.state_dict().items():
        of = method if name.startswith("pro") else "encoder"
        out[f"{of}/weights/{name}"] = value.float() if value.is_floating_point() else value.clone()
    queues = F.normalize(torch.randn(2, QUEUE, OUT), dim=2).float().double()
    for i, queue in enumerate(queues if method == "swav" else []):
        out[f"{method}/weights/memory.queue{i + 1}"] = queue.float()
    teacher = copy.deepcopy(net)
    if method == "dino":
        weight_normed(net), weight_normed(teacher)
    swav_loss = SwaVLoss()
    dino_loss = DINOLoss(output_dim=PROTOTYPES, warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=3)
    following = 0

    for step, epoch in enumerate(EPOCHS):
        z = [net(view) for view in views]
        if method == "swav":
            scores = [net.prototypes(z) for z in z]
            queued = [net.prototypes(queue).detach() for queue in queues] if epoch >= 1 else None
            loss = swav_loss(scores[:2], scores[2:], queued).reshape([])
        else:
            with torch.no_grad():
                targets = [teacher(view) for view in views[:2]]
                if method == "dino":
                    targets = [teacher.prototypes(t) for t in targets]
            if method == "dino":
                loss = dino_loss(targets, [net.prototypes(z) for z in z], epoch=int(epoch))
            else:
                loss = simdino(z, targets)
        parameters = trained(net)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        if epoch < 1:  # the last layer is not trained in the first epoch
            gradients = [torch.zeros_like(g) if "prototypes" in name else g for name, g in zip(parameters, gradients)]
        out[f"{method}/{step}/loss"] = loss.detach()
        out[f"{method}/{step}/gradients"] = sampled(gradients)
        with torch.no_grad():
            for p, g in zip(parameters.values(), gradients):
                p -= LR[method] * g
            if method == "swav":
                for queue, rows in zip(queues, z):
                    queue[(following + torch.arange(N)) % QUEUE] = rows.detach()
                following = (following + N) % QUEUE
                net.prototypes.weight.copy_(F.normalize(net.prototypes.weight))
                out[f"{method}/{step}/memory.queue1"], out[f"{method}/{step}/memory.queue2"] = queues[0].clone(), queues[1].clone()
                out[f"{method}/{step}/prototypes.weight"] = net.prototypes.weight.clone()
            else:
                tau = 1 - (1 - BASE_TAU) * (math.cos(math.pi * (step + 1) / STEPS) + 1) / 2
                for mine, theirs in zip(trained(teacher).values(), parameters.values()):
                    mine.mul_(tau).add_((1 - tau) * theirs)
                out[f"{method}/{step}/teacher"] = sampled(trained(teacher).values())
                out[f"{method}/{step}/teacher.bn1.running_mean"] = teacher.bn1.running_mean.clone()
            if method == "dino":
                out[f"{method}/{step}/memory.centre"] = dino_loss.center.flatten().clone()
    out[f"{method}/parameters"] = sampled(trained(net).values())


for method in ["swav", "dino", "simdino"]:
    steps(method)
save_file({name: value.contiguous() for name, value in out.items()}, sys.argv[1])

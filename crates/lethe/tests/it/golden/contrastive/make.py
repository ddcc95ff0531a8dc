"""Golden cases of the contrastive methods, BYOL, VICReg and the supervised reference: values and gradients of their losses,
and five whole steps. PyTorch 2.11, torchvision 0.26, lightly 1.6, float64.

    python make.py case.safetensors

DCL and DCLW (https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/dcl_loss.py) with their head
(https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/models/modules/heads.py) and VICReg
(https://github.com/lightly-ai/lightly/blob/e8d317f/lightly/loss/vicreg_loss.py) are lightly's. The others are written here
from their formulas, sample by sample:
  moco-v2     https://github.com/vturrisi/solo-learn/blob/9187ea3/solo/losses/mocov2plus.py and solo/methods/mocov2plus.py:
              a queue a view, both directions, halved
  moco-v3     https://github.com/facebookresearch/moco-v3/blob/c349e6e/moco/builder.py: cross-entropy times 2 T, both
              directions, summed
  nnclr       equation 2 of arXiv 2104.14548; https://github.com/vturrisi/solo-learn/blob/9187ea3/solo/methods/nnclr.py:
              the support set takes the first views
  ressl       equations 1 to 4 of arXiv 2107.09282; https://github.com/vturrisi/solo-learn/blob/9187ea3/solo/losses/ressl.py
  relic       equation 3 of arXiv 2010.07922 (there is no code of the authors')
  supcon      L_out, equation 2 of arXiv 2004.11362; https://github.com/HobbitLong/SupContrast/blob/331aab5/losses.py
  supervised  torch.nn.functional.cross_entropy, mean of both views
  byol        equation 2 of arXiv 2006.07733, both directions, summed; its heads and VICReg's are those of
              https://github.com/vturrisi/solo-learn/tree/9187ea3/solo/methods

The five steps run on the networks of ../undo/make.py with torch.optim.SGD. The teacher's momentum rises along a cosine, and
its batch-norm keeps statistics of its own.
"""

import copy
import importlib.util
import math
import pathlib
import sys

import torch
from lightly.loss import DCLLoss, DCLWLoss, VICRegLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, normalize

spec = importlib.util.spec_from_file_location("undo", pathlib.Path(__file__).parent.parent / "undo" / "make.py")
undo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(undo)

WIDTH, SIDE, N, STEPS, LR = 2, 8, 6, 5, 0.05
HIDDEN, OUT, QUEUE, CLASSES = 8, 6, 16, 3  # a queue that N does not divide: it wraps within a batch
LABELS = torch.arange(N) % CLASSES
BASE_TAU = 0.9
T, T_KEY, SIGMA = 0.2, 0.04, 0.5
FINAL_TAU = {"moco-v2": 0.999, "moco-v3": 1.0, "ressl": 1.0, "relic": 1.0, "byol": 1.0}


# The losses. A queue's rows are of unit length already.

def cosines(a, b):
    return normalize(a, dim=1) @ normalize(b, dim=1).T


def to_queue(a, queue):
    return normalize(a, dim=1) @ queue.T


def moco_v2(q, k, queue):
    own, others = torch.exp(cosines(q, k).diagonal() / T), torch.exp(to_queue(q, queue) / T).sum(1)
    return -torch.log(own / (own + others)).mean()


def own_of_batch(logits):
    e = torch.exp(logits)
    return -torch.log(e.diagonal() / e.sum(1)).mean()


def moco_v3(q, k):
    return 2 * T * own_of_batch(cosines(q, k) / T)


def nnclr(neighbours, p):
    return own_of_batch(cosines(neighbours, p) / T)


def nearest(z, support):
    return support[torch.stack([((support - row) ** 2).sum(1).argmin() for row in normalize(z.detach(), dim=1)])]


def ressl(q, k, queue):
    target = torch.exp(to_queue(k.detach(), queue) / T_KEY)
    found = torch.exp(to_queue(q, queue) / 0.1)
    target, found = target / target.sum(1, keepdim=True), found / found.sum(1, keepdim=True)
    return -(target * torch.log(found)).sum(1).mean()


def relic(q1, q2, k1, k2):
    p12, p21 = [torch.exp(cosines(q, k) / T) for q, k in [(q1, k2), (q2, k1)]]
    p12, p21 = p12 / p12.sum(1, keepdim=True), p21 / p21.sum(1, keepdim=True)
    contrast = -(torch.log(p12.diagonal()) + torch.log(p21.diagonal())).mean() / 2

    def kl(p, q):
        return (p * torch.log(p / q)).sum(1).mean()

    return contrast, (kl(p12, p21) + kl(p21, p12)) / 2


def byol(p, k):
    return (2 - 2 * cosines(p, k).diagonal()).mean()


def supcon(z1, z2, labels):
    similarity = torch.exp(cosines(torch.cat([z1, z2]), torch.cat([z1, z2])) / 0.2)
    labels = torch.cat([labels, labels])
    losses = []
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if j != i]
        whole = sum(similarity[i, j] for j in others)
        positives = [j for j in others if labels[j] == labels[i]]
        losses.append(-sum(torch.log(similarity[i, j] / whole) for j in positives) / len(positives))
    return torch.stack(losses).mean()


# Five steps.

class Net(nn.Module):
    def __init__(self, **heads):
        super().__init__()
        early, late = undo.Early(WIDTH), undo.Late(WIDTH)
        self.conv1, self.bn1, self.layer1, self.layer2 = early.conv1, early.bn1, early.layer1, early.layer2
        self.layer3, self.layer4 = late.layer3, late.layer4
        for name, head in heads.items():
            self.add_module(name, head)

    def represent(self, x):
        x = self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))
        return self.layer4(self.layer3(x)).mean(dim=(2, 3))

    def project(self, x):
        return self.projector(self.represent(x))


def chain(*dims, bias=True, norm=True, last=()):
    layers = []
    for i, o in zip(dims, dims[1:]):
        if layers:
            layers += [nn.BatchNorm1d(i), nn.ReLU()] if norm else [nn.ReLU()]
        layers.append(nn.Linear(i, o, bias=bias))
    return nn.Sequential(*layers, *last)


D = 8 * WIDTH
# New ones go last: every net takes its weights from the same stream.
NETS = {
    "moco-v2": lambda: Net(projector=chain(D, HIDDEN, OUT, norm=False)),
    "moco-v3": lambda: Net(
        projector=chain(D, HIDDEN, OUT, bias=False, last=[nn.BatchNorm1d(OUT, affine=False)]),
        predictor=chain(OUT, HIDDEN, OUT, bias=False),
    ),
    "nnclr": lambda: Net(
        projector=chain(D, HIDDEN, HIDDEN, OUT, last=[nn.BatchNorm1d(OUT)]), predictor=chain(OUT, HIDDEN, OUT)
    ),
    "ressl": lambda: Net(projector=chain(D, HIDDEN, OUT, norm=False)),
    "relic": lambda: Net(projector=chain(D, HIDDEN, OUT)),
    "byol": lambda: Net(projector=chain(D, HIDDEN, OUT), predictor=chain(OUT, HIDDEN, OUT)),
    "dcl": lambda: Net(projector=SimCLRProjectionHead(D, HIDDEN, OUT).layers),
    "dclw": lambda: Net(projector=SimCLRProjectionHead(D, HIDDEN, OUT).layers),
    "vicreg": lambda: Net(projector=chain(D, HIDDEN, HIDDEN, OUT)),
    "supervised": lambda: Net(classifier=nn.Linear(D, CLASSES)),
}
HEADS = ("projector", "predictor", "classifier")
QUEUES = {"moco-v2": ["queue1", "queue2"], "nnclr": ["support"], "ressl": ["queue"]}


class Ring:
    def __init__(self, rows):
        self.rows, self.next = rows.clone(), 0

    def push(self, rows):
        for row in normalize(rows.detach(), dim=1):
            self.rows[self.next] = row
            self.next = (self.next + 1) % len(self.rows)


WITHOUT_TEACHER = {"dcl": DCLLoss(temperature=T), "dclw": DCLWLoss(temperature=T, sigma=SIGMA), "vicreg": VICRegLoss()}


def step(name, net, teacher, rings, x1, x2):
    """The loss, and what each ring is to take in."""
    if name == "supervised":
        return sum(cross_entropy(net.classifier(net.represent(x)), LABELS) for x in (x1, x2)) / 2, {}
    if name in WITHOUT_TEACHER:
        return WITHOUT_TEACHER[name](net.project(x1), net.project(x2)), {}
    if name == "nnclr":
        z1, z2 = net.project(x1), net.project(x2)
        p1, p2 = net.predictor(z1), net.predictor(z2)
        support = rings["support"].rows
        return (nnclr(nearest(z1, support), p2) + nnclr(nearest(z2, support), p1)) / 2, {"support": z1}
    if name == "ressl":
        with torch.no_grad():
            key = teacher.project(x2)
        return ressl(net.project(x1), key, rings["queue"].rows), {"queue": key}
    with torch.no_grad():
        k1, k2 = teacher.project(x1), teacher.project(x2)
    z1, z2 = net.project(x1), net.project(x2)
    if name == "moco-v2":
        loss = (moco_v2(z1, k2, rings["queue2"].rows) + moco_v2(z2, k1, rings["queue1"].rows)) / 2
        return loss, {"queue1": k1, "queue2": k2}
    if name == "moco-v3":
        return moco_v3(net.predictor(z1), k2) + moco_v3(net.predictor(z2), k1), {}
    if name == "byol":
        return byol(net.predictor(z1), k2) + byol(net.predictor(z2), k1), {}
    contrast, invariance = relic(z1, z2, k1, k2)
    return contrast + 0.7 * invariance, {}


def sampled(values, stride):
    values = undo.flat(values)
    return torch.cat([values[::stride], values.norm()[None]])


def statistics(net):
    return [v for k, v in net.state_dict().items() if "running" in k]


def rounded(state):  # to values that float32 holds too, as which they are stored
    return {k: v.float().double() if v.is_floating_point() else v for k, v in state.items()}


def stored(state):
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def five_steps(name, encoder, images, out):
    net = NETS[name]()
    head = rounded({k: v for k, v in net.state_dict().items() if k.startswith(HEADS)})
    net.load_state_dict({**encoder, **head})
    out.update({f"{name}/head.{k}": v for k, v in stored(head).items()})
    rings = {q: Ring(normalize(torch.randn(QUEUE, OUT), dim=1).float().double()) for q in QUEUES.get(name, [])}
    out.update({f"{name}/head.memory.{q}": ring.rows.float() for q, ring in rings.items()})
    teacher = copy.deepcopy(net) if name in FINAL_TAU else None
    if hasattr(teacher, "predictor"):
        del teacher.predictor
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    losses = []
    for i, (x1, x2) in enumerate(images):
        loss, rows = step(name, net, teacher, rings, x1, x2)
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        if i == 0:
            out[f"{name}/gradient"] = sampled([p.grad for p in net.parameters()], 16)
        optimizer.step()
        for q, new in rows.items():
            rings[q].push(new)
            out[f"{name}/step{i}.memory.{q}"] = rings[q].rows.clone()
        if teacher is not None:
            end = FINAL_TAU[name]
            tau = end - (end - BASE_TAU) * (math.cos(math.pi * (i + 1) / STEPS) + 1) / 2
            student = dict(net.named_parameters())
            with torch.no_grad():
                for k, t in teacher.named_parameters():
                    t.copy_(tau * t + (1 - tau) * student[k])
            out[f"{name}/step{i}.teacher"] = sampled(teacher.parameters(), 256)
    out[f"{name}/losses"] = torch.stack(losses)
    out[f"{name}/parameters"] = sampled(net.parameters(), 16)
    out[f"{name}/statistics"] = sampled(statistics(net), 4)
    if teacher is not None:
        out[f"{name}/teacher_statistics"] = sampled(statistics(teacher), 4)
    print(name, [round(loss.item(), 4) for loss in losses])


def values_and_gradients(out):
    for n, p in [(8, 5), (12, 24)]:
        case = f"{n}x{p}"
        # Views of an image agree in part, and the rows have a common mean, as projections do.
        base = torch.randn(n, p) + 0.5
        q1, q2 = [(base + 0.4 * torch.randn(n, p)).requires_grad_() for _ in range(2)]
        k1, k2 = [base + 0.3 * torch.randn(n, p) for _ in range(2)]
        queue, labels = normalize(torch.randn(2 * n, p), dim=1), torch.arange(n) % CLASSES
        out.update({f"{case}/{k}": v.detach() for k, v in dict(q1=q1, q2=q2, k1=k1, k2=k2, queue=queue, labels=labels).items()})
        for name, value in {
            "info_nce": moco_v2(q1, k2, queue),
            "moco_v3": moco_v3(q1, k2),
            "nnclr": nnclr(nearest(k1, queue), q1),
            "relation": ressl(q1, k2, queue),
            "contrast": relic(q1, q2, k1, k2)[0],
            "invariance": relic(q1, q2, k1, k2)[1],
            "dcl": DCLLoss(temperature=T)(q1, q2),
            "dclw": DCLWLoss(temperature=T, sigma=SIGMA)(q1, q2),
            "supcon": supcon(q1, q2, labels),
            "supervised": (cross_entropy(q1, labels) + cross_entropy(q2, labels)) / 2,
        }.items():
            out[f"{case}/{name}/value"] = value.detach()
            for i, gradient in enumerate(torch.autograd.grad(value, [q1, q2], allow_unused=True)):
                if gradient is not None:
                    out[f"{case}/{name}/gradient{i}"] = gradient


def main(path):
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    out = {}
    values_and_gradients(out)
    encoder = Net()
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    encoder = rounded(encoder.state_dict())
    out.update({f"encoder.{k}": v for k, v in stored(encoder).items()})
    images = torch.randn(STEPS, 2, N, 3, SIDE, SIDE).float().double()
    out["images"], out["labels"] = images.float(), LABELS
    for name in NETS:
        five_steps(name, encoder, images, out)
    save_file({k: v.detach().clone().contiguous() for k, v in out.items()}, path)


if __name__ == "__main__":
    main(sys.argv[1])

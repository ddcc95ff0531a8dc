"""One outer step of UMM: `lethe` against the same step in PyTorch with torch.func, milliseconds and peak memory.

    python3 bench/peers/undo.py [--width 16] [--batch 64] [--hypergradient finite-difference] [--rounds 3]

Both sides: ResNet-18 with the CIFAR stem cut after stage2, SimCLR with solo-learn's head, two views of 32 pixels, float32, all
cores, the early part frozen; from the images to the gradients of the outer objective. The peer is written as one writes
it: functional_call on torchvision's blocks, autograd.grad with create_graph for the alignment, slogdet for the coding
rate. It takes the early features once a batch, as Lethe does; `--whole` lets it take them in every pass, as a bi-level library does that calls
the module in each problem's step. Lethe's side is its criterion bench, `cargo bench --bench undo`.
PyTorch runs in the Python that bench/peers/common.py makes or LETHE_PEERS_PYTHON names.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import common

ALPHA, BETA, LAMBDA, EPS2, TEMPERATURE = 0.01, 100.0, 0.05, 0.5, 0.2
STEPS = 10


def peer(width, batch, hypergradient, whole):
    """Runs inside the peer's Python: prints seconds of every step after two to warm up."""
    import torch
    from torch import nn
    from torch.func import functional_call
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())

    def stage(i, o, stride):
        shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride != 1 else None
        return nn.Sequential(BasicBlock(i, o, stride, shortcut), BasicBlock(o, o))

    stem = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    early = nn.Sequential(*stem, stage(width, width, 1), stage(width, 2 * width, 2)).eval().requires_grad_(False)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 2048), nn.ReLU(), nn.Linear(2048, 256)]
    late = nn.Sequential(stage(2 * width, 4 * width, 2), stage(4 * width, 8 * width, 2), *head)
    memory = torch.channels_last
    early, late = early.to(memory_format=memory), late.to(memory_format=memory)
    images = [torch.randn(batch, 3, 32, 32).to(memory_format=memory) for _ in range(2)]

    def ssl(z1, z2):
        z = torch.nn.functional.normalize(torch.cat([z1, z2]))
        similarity = z @ z.T / TEMPERATURE
        similarity = similarity.masked_fill(torch.eye(2 * batch, dtype=torch.bool), float("-inf"))
        return torch.nn.functional.cross_entropy(similarity, (torch.arange(2 * batch) + batch) % (2 * batch))

    def rate_reduction(z1, z2):
        z1, z2 = torch.nn.functional.normalize(z1), torch.nn.functional.normalize(z2)
        z = torch.cat([z1, z2])
        m, d = z.shape
        gram = z @ z.T if m < d else z.T @ z
        rate = torch.linalg.slogdet(torch.eye(len(gram)) + d / (m * EPS2) * gram)[1] / 2
        pairs = torch.stack([z1, z2], 1)
        small = torch.eye(2) + d / (2 * EPS2) * pairs @ pairs.transpose(1, 2)
        return rate - torch.linalg.slogdet(small)[1].mean() / 2

    def inner(theta, features):
        leaves = [f().detach().requires_grad_() for f in features]
        loss = ssl(*[functional_call(late, theta, (z,)) for z in leaves])
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)
        norms = torch.cat([g.flatten(1).norm(dim=1) for g in gradients])
        p, u = (1 / norms) / (1 / norms).sum(), torch.full_like(norms, 1 / len(norms))
        middle = (p + u) / 2
        js = ((p * (p / middle).log()).sum() + (u * (u / middle).log()).sum()) / 2
        return loss + BETA * js

    def outer(theta, features):
        z = [functional_call(late, theta, (f(),)) for f in features]
        return ssl(*z) - LAMBDA * rate_reduction(*z)

    def gradient(objective, theta, features):
        return torch.autograd.grad(objective(theta, features), list(theta.values()))

    def moved(theta, scale, by):
        return {k: (v + scale * g).detach().requires_grad_() for (k, v), g in zip(theta.items(), by)}

    def step(theta):
        if whole:
            features = [lambda x=x: torch.no_grad()(early)(x) for x in images]
        else:
            with torch.no_grad():
                features = [lambda z=early(x): z for x in images]
        slope = gradient(inner, theta, features)
        v = gradient(outer, moved(theta, -ALPHA, slope), features)
        if hypergradient == "first-order":
            return v
        length = torch.cat([g.flatten() for g in v]).norm()
        if hypergradient == "forward-difference":
            e = 0.1 / length
            ahead, behind, scale = gradient(inner, moved(theta, e, v), features), slope, ALPHA / e
        else:
            e = 0.01 / length
            ahead, behind = (gradient(inner, moved(theta, sign * e, v), features) for sign in (1, -1))
            scale = ALPHA / (2 * e)
        return [g - scale * (a - b) for g, a, b in zip(v, ahead, behind)]

    theta = {k: v.detach().clone().requires_grad_() for k, v in late.named_parameters()}
    seconds = []
    for _ in range(STEPS + 2):
        start = time.perf_counter()
        step(theta)
        seconds.append(time.perf_counter() - start)
    print(statistics.median(seconds[2:]))


def measured(command):
    """Stdout of a command and its peak memory in MiB."""
    process = subprocess.Popen([str(part) for part in command], cwd=common.ROOT, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return text, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hypergradient", default="finite-difference")
    parser.add_argument("--whole", action="store_true", help="the peer takes the early features in every pass")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.width, args.batch, args.hypergradient, args.whole)

    same = ["--width", args.width, "--batch", args.batch, "--hypergradient", args.hypergradient]
    theirs = [common.python(), __file__, "--peer", *same, *(["--whole"] if args.whole else [])]
    group, name = f"resnet18-w{args.width} batch {args.batch}", args.hypergradient
    bench = ["cargo", "bench", "--quiet", "--package", "lethe", "--bench", "undo", "--"]
    common.run([*bench, "--list"])
    found = common.TARGET / "criterion" / group / name / "new/estimates.json"
    ratios = []
    for round_ in range(1, args.rounds + 1):
        _, own_memory = measured([*bench, "--noplot", "--warm-up-time", "2", f"{group}/{name}$"])
        own = json.loads(found.read_text())["median"]["point_estimate"] / 1e9
        text, peer_memory = measured(theirs)
        other = float(text)
        ratios.append(other / own)
        print(
            f"round {round_}: lethe {1000 * own:.0f} ms, {own_memory:.0f} MiB; PyTorch {1000 * other:.0f} ms, {peer_memory:.0f} MiB; "
            f"ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median: lethe {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()

"""Images a second of SimCLR pre-training, data loading included: `lethe pretrain` against lightly's loop in PyTorch.

    python3 bench/peers/pretrain.py DIR [--threads 2] [--steps 10] [--rounds 3] [--compile]

DIR is an image folder of 32x32 pictures with classes (CIFAR-10). Both sides: ResNet-18 with the CIFAR stem, a head of
512-2048-256, NT-Xent at temperature 0.2, LARS, batch 256, two views without blur, channels-last. First every setting
of the peer is measured (f32 or bf16 autocast, 0 to 2 loader workers beside its own process; with --compile through
torch.compile too), then lethe runs in turn with the best of them, for each precision. Only steps after the warm-up
count. The peer runs in the Python that bench/peers/common.py makes or LETHE_PYTHON names.
"""

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path

import common

BATCH = 256
# lethe writes a row of metrics every 10 steps; the first holds the warm-up.
LETHE_ROW = 10
PEER_WARMUP = 3
PRECISIONS = ["bf16", "f32"]


def peer(folder, precision, workers, threads, steps, compiled):
    """Runs inside the peer's Python: lightly's SimCLR example as its documentation has it; prints images a second."""
    import torch
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from lightly.utils.lars import LARS
    from torch import nn
    from torchvision.datasets import ImageFolder
    from torchvision.models import resnet18

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    backbone = resnet18(weights=None)
    backbone.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    backbone.maxpool = nn.Identity()
    backbone.fc = nn.Identity()
    model = nn.Sequential(backbone, SimCLRProjectionHead(512, 2048, 256, batch_norm=False))
    model = model.to(memory_format=torch.channels_last).train()
    forward = torch.compile(model) if compiled else model
    criterion = NTXentLoss(temperature=0.2)
    optimizer = LARS(model.parameters(), lr=0.4, momentum=0.9, weight_decay=1e-4)
    transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)
    loader = torch.utils.data.DataLoader(
        ImageFolder(folder, transform), BATCH, shuffle=True, drop_last=True, num_workers=workers
    )
    batches = iter(loader)
    for step in range(PEER_WARMUP + steps):
        if step == PEER_WARMUP:
            start = time.perf_counter()
        (x0, x1), _ = next(batches)
        x0, x1 = (x.to(memory_format=torch.channels_last) for x in (x0, x1))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            z0, z1 = forward(x0), forward(x1)
        loss = criterion(z0.float(), z1.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(json.dumps({"images_per_s": BATCH * steps / (time.perf_counter() - start), "loss": loss.item()}))


def lethe(folder, precision, threads, steps):
    """One epoch of warm-up and `steps` more; the rate between the rows of metrics.jsonl."""
    images = BATCH * (LETHE_ROW + steps)
    with tempfile.TemporaryDirectory() as run:
        out = Path(run) / "run"
        command = [common.ROOT / "target/release/lethe", "pretrain", "--method", "simclr", "--encoder", "resnet18"]
        command += ["--stem", "cifar", "--data", f"{folder}@n={images}", "--epochs", 1, "--batch-size", BATCH]
        command += ["--precision", precision, "--threads", threads, "--out", out, "--json"]
        common.run(command)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "step"]
    first, last = rows[0], rows[-1]
    return BATCH * (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="counted steps of a run, a multiple of 10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="let the peer try torch.compile too")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="only this one")
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        precision, workers, compiled = options.peer
        return peer(options.folder, precision, int(workers), options.threads, options.steps, compiled == "compiled")
    if options.steps < LETHE_ROW or options.steps % LETHE_ROW:
        parser.error("--steps must be a multiple of 10")

    folder = str(Path(options.folder).resolve())
    python = common.python()
    common.build("--bin", "lethe")

    def theirs(setting):
        command = [python, __file__, folder, "--threads", options.threads, "--steps", options.steps, "--peer", *setting]
        return json.loads(common.run(command).splitlines()[-1])["images_per_s"]

    for precision in options.precision or PRECISIONS:
        settings = product([precision], [0, 1, 2], ["eager", "compiled"] if options.compile else ["eager"])
        rates = {}
        for setting in settings:
            rates[setting] = theirs(setting)
            print(f"lightly {setting[0]}, {setting[1]} workers, {setting[2]}: {rates[setting]:.1f} images/s", flush=True)
        best = max(rates, key=rates.get)
        print(f"{precision}, against {best[1]} workers, {best[2]}:")
        common.alternate(
            options.rounds,
            lambda: lethe(folder, precision, options.threads, options.steps),
            lambda: theirs(best),
            "lightly",
        )


if __name__ == "__main__":
    main()

"""Images a second of two SimCLR views of 32x32 JPEG files, decoding included: lethe's loader against lightly's
SimCLRTransform (torchvision v2 and Pillow) in a PyTorch DataLoader, two workers each, alternately.

    python3 bench/peers/views.py DIR [--rounds 3] [--workers 2] [--images 20000]

DIR is an image folder. The peer runs in a virtual environment made in target/peers (network needed once), or in the
Python that LETHE_PEER_PYTHON names. Blur is off on both sides, as lightly advises for 32x32. Both see every file
decoded: of lethe only the first epoch of a fresh process counts, so nothing comes from its memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def peer(folder, workers, images):
    """Runs inside the peer's Python: prints images a second."""
    import torch
    from lightly.transforms import SimCLRTransform
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder

    torch.set_num_threads(1)
    dataset = ImageFolder(folder, SimCLRTransform(input_size=32, gaussian_blur=0.0))
    dataset = Subset(dataset, torch.randperm(len(dataset))[:images].tolist())
    loader = DataLoader(dataset, 256, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True)
    batches = iter(loader)
    next(batches)  # workers are up
    start, count = time.perf_counter(), 0
    for views, _ in batches:
        count += len(views[0])
    print(f"{count / (time.perf_counter() - start):.0f}")


def peer_python():
    named = os.environ.get("LETHE_PEER_PYTHON")
    if named:
        return named
    python = ROOT / "target/peers/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ROOT / "target/peers"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "lightly", "torch", "torchvision"], check=True)
    return str(python)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.folder, options.workers, options.images)

    python = peer_python()
    build = ["cargo", "build", "--release", "--quiet", "--package", "lethe", "--example", "views_throughput"]
    subprocess.run(build, cwd=ROOT, check=True)
    ours = [str(ROOT / "target/release/examples/views_throughput"), f"{options.folder}@n={options.images}"]
    ours += ["--threads", str(options.workers), "--epochs", "1"]
    theirs = [python, __file__, "--peer", options.folder]
    theirs += ["--workers", str(options.workers), "--images", str(options.images)]

    def rate(command):
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

    rates = []
    for round_ in range(options.rounds):
        rates.append((rate(ours), rate(theirs)))
        lethe, lightly = rates[-1]
        print(f"round {round_ + 1}: lethe {lethe:.0f} images/s, lightly {lightly:.0f} images/s, ratio {lethe / lightly:.2f}")
    lethe, lightly = (statistics.median(side) for side in zip(*rates))
    print(f"median: lethe {lethe:.0f} images/s, lightly {lightly:.0f} images/s, ratio {lethe / lightly:.2f}")


if __name__ == "__main__":
    main()

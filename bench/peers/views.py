"""Images a second of two SimCLR views of 32x32 JPEG files, decoding included: lethe's loader against lightly's
SimCLRTransform (torchvision v2 and Pillow) in a PyTorch DataLoader, two workers each, alternately.

    python3 bench/peers/views.py DIR [--rounds 3] [--workers 2] [--images 20000]

DIR is an image folder. The peer runs in the Python that bench/peers/common.py makes or LETHE_PEERS_PYTHON names. Blur is off
on both sides, as lightly advises for 32x32. Both see every file decoded: of lethe only the first epoch of a fresh
process counts, so nothing comes from its memory.
"""

import argparse
import time
from pathlib import Path

import common


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder = str(Path(options.folder).resolve())
    if options.peer:
        return peer(options.folder, options.workers, options.images)

    common.build("--example", "views_throughput")
    ours = [common.TARGET / "release/examples/views_throughput", f"{options.folder}@n={options.images}"]
    ours += ["--threads", options.workers, "--epochs", 1]
    theirs = [common.python(), __file__, "--peer", options.folder]
    theirs += ["--workers", options.workers, "--images", options.images]

    def rate(command):
        return float(common.run(command).split()[-1])

    common.alternate(options.rounds, lambda: rate(ours), lambda: rate(theirs), "lightly")


if __name__ == "__main__":
    main()

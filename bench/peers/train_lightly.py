"""Trains one of lightly_methods.py as a run of lethe was trained. Runs in the peer's Python.

    train_lightly.py RUN/config.toml OUT.pth

writes the encoder's state dict with torchvision's or timm's names and prints the loss of the first and last step. With
`--time STEPS` it stops after so many steps (and some more to warm up), writes nothing and prints images a second;
`--data`, `--workers` and `--compile` are for that.
"""

import argparse
import json
import math
import time
import tomllib
import warnings
from itertools import count
from pathlib import Path

import torch
from lightly.utils.lars import LARS
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import lightly_methods as peers

WARMUP = 3
OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": lambda trained, weight_decay: torch.optim.SGD(trained, 0.0, momentum=0.9, weight_decay=weight_decay),
    "lars": lambda trained, weight_decay: LARS(trained, 0.0, momentum=0.9, weight_decay=weight_decay),
}


def rate(step, base, warmup, total):
    """Lethe's schedule: a line up, half a cosine down to zero."""
    if step < warmup:
        return base * (step + 1) / warmup
    return base * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1))) / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--time", type=int, metavar="STEPS")
    parser.add_argument("--data")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    config = tomllib.loads(Path(options.config).read_text())
    warnings.simplefilter("ignore")
    torch.manual_seed(config["seed"])
    torch.set_num_threads(config["threads"])

    encoder, dim = peers.encoder(config)
    method = peers.METHODS[config["method"]](encoder, dim, config["method_settings"])
    device = torch.device(config["device"])
    on_gpu = device.type == "cuda"
    torch.backends.cudnn.benchmark = on_gpu
    method = method.to(device, memory_format=torch.channels_last).train()
    step_loss = torch.compile(method.loss) if options.compile else method.loss
    images = ImageFolder(options.data or config["data"], peers.views(config["augmentation"], config["image_size"]))
    batch_size = config["batch_size"]
    loader = DataLoader(
        images, batch_size, shuffle=True, drop_last=True, num_workers=options.workers, pin_memory=on_gpu,
        persistent_workers=options.workers > 0, collate_fn=method.collate,
    )
    total, warmup = (epochs * len(loader) for epochs in (config["epochs"], config["warmup_epochs"]))
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS[config["optimizer"]](trained, weight_decay=config["weight_decay"])

    def now():
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    # A worker has two batches ready when the first step begins.
    first = WARMUP + 2 * options.workers
    step, losses, start = 0, [], None
    for epoch in count() if options.time else range(config["epochs"]):
        for batch in loader:
            if step == first:
                start = now()
            (views, _), *masks = batch if method.collate else [batch]
            views = [x.to(device, non_blocking=True, memory_format=torch.channels_last) for x in views]
            views += [[places.to(device, non_blocking=True) for places in of] for of in masks]
            optimizer.param_groups[0]["lr"] = rate(step, config["lr"] * batch_size / 256, warmup, total)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config["precision"] == "bf16"):
                loss = step_loss(views, epoch)
            optimizer.zero_grad()
            loss.backward()
            method.before_step(epoch)
            optimizer.step()
            step += 1
            method.after_step(step / total)
            losses.append(loss.detach())
            if options.time and step == first + options.time:
                return print(json.dumps(options.time * batch_size / (now() - start)))
    torch.save(encoder.state_dict(), options.out)
    print(json.dumps([losses[0].item(), losses[-1].item()]))


if __name__ == "__main__":
    main()

"""Images a second of pre-training, data loading included: `lethe pretrain` against lightly's parts in PyTorch's loop.

    python3 bench/peers/pretrain.py DIR [--method simclr] [--threads 2] [--steps 10] [--rounds 3] [--compile] [--device cuda:0]

DIR is an image folder of 32x32 pictures with classes (CIFAR-10). Both sides: the method's published heads, optimiser and
views (without blur, whose kernels differ), batch 256, ResNet-18 with the CIFAR stem (MAE and I-JEPA: ViT-tiny with patch 4),
channels-last; the peer is train_lightly.py. First every setting of the peer is measured (--workers: 0 to 2 loader workers
beside its own process; with --compile through torch.compile too), then lethe runs in turn with the best of them, for each
precision. Only steps after the warm-up count. `--method all` walks the methods that lightly has. --lethe names a program that
is built already: beside a GPU there may be no compiler.
"""

import argparse
import json
import math
import tempfile
from itertools import product
from pathlib import Path

import common

# lethe writes a row of metrics every 10 steps; the first holds the warm-up.
LETHE_ROW = 10
BATCH = 256
PRECISIONS = ["bf16", "f32"]
METHODS = ["simclr", "moco-v2", "byol", "simsiam", "barlow-twins", "vicreg", "swav", "dino", "w-mse", "nnclr", "dcl", "dclw",
           "mmcr", "tico", "mae", "i-jepa"]
# Targets of a grid of 8 x 8 have 9 patches and more, and lightly holds them to this too.
SETTINGS = {"i-jepa": {"min_keep": 8}}


def lethe(options, method, precision, out, steps):
    """All of these steps but those of the first row count: the rate between the rows of metrics.jsonl. Where the images do
    not last, lethe goes on with what it has decoded, which it keeps in memory; the peer decodes anew."""
    an_epoch = min(steps, options.images // BATCH)
    encoder = [options.encoder, "--stem", "cifar"]
    if method in ("mae", "i-jepa"):
        encoder = ["vit-tiny", "--patch", 4, "--pool", "mean"]
    command = [options.lethe, "pretrain", "--method", method, "--encoder", *encoder, "--device", options.device]
    command += ["--data", f"{options.folder}@n={BATCH * an_epoch}", "--epochs", math.ceil(steps / an_epoch)]
    # A small rate, which costs no less time: no method collapses in so few steps.
    command += ["--batch-size", BATCH, "--lr", 1e-3, "--overwrite"]
    if method in SETTINGS:
        config = out.with_suffix(".toml")
        config.write_text("[method_settings]\n" + "".join(f"{key} = {value}\n" for key, value in SETTINGS[method].items()))
        command += ["--config", config]
    # Three recipes blur small images: BYOL's views cost the same without it.
    if method in ("simclr", "moco-v2", "simsiam", "swav", "dcl", "dclw"):
        command += ["--augmentation", "byol"]
    command += ["--precision", precision, "--threads", options.threads, "--out", out, "--json"]
    common.run(command)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "step" and row["step"] <= steps]
    first, last = rows[0], rows[-1]
    return BATCH * (last["step"] - first["step"]) / (last["seconds"] - first["seconds"]) if len(rows) > 1 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--method", choices=[*METHODS, "all"], nargs="+", default=["simclr"])
    parser.add_argument("--encoder", default="resnet18", help="resnet18, or narrower: resnet18-w16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="counted steps of a run, a multiple of 10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="of the peer's loader")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lethe", type=Path)
    parser.add_argument("--compile", action="store_true", help="let the peer try torch.compile too")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="only this one")
    options = parser.parse_args()
    if options.steps < LETHE_ROW or options.steps % LETHE_ROW:
        parser.error("--steps must be a multiple of 10")
    options.folder = str(Path(options.folder).resolve())
    options.images = sum(1 for _ in Path(options.folder).glob("*/*"))
    if options.images < BATCH:
        parser.error(f"{options.folder}: expected {BATCH} images or more in folders of their classes")
    python = common.python()
    if options.lethe is None:
        common.build("--bin", "lethe")
        options.lethe = common.LETHE
    options.lethe = options.lethe.resolve()

    methods = METHODS if "all" in options.method else options.method
    for method, precision in product(methods, options.precision or PRECISIONS):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            # For its config.toml, which the peer follows.
            lethe(options, method, precision, run, 1)

            def theirs(workers, compiled):
                command = [python, Path(__file__).with_name("train_lightly.py"), run / "config.toml"]
                command += ["--data", options.folder, "--time", options.steps, "--workers", workers]
                return json.loads(common.run(command + ["--compile"] * compiled).splitlines()[-1])

            settings = list(product(options.workers, [False, True] if options.compile else [False]))
            best, shown = settings[0], "one setting"
            if len(settings) > 1:
                rates = {setting: theirs(*setting) for setting in settings}
                best = max(rates, key=rates.get)
                of = lambda workers, compiled: f"{workers} workers{' compiled' * compiled}"
                shown = "images/s with " + ", ".join(f"{of(*setting)} {rate:.1f}" for setting, rate in rates.items())
            print(f"{method}, {precision}: lightly's {shown}", flush=True)
            steps = LETHE_ROW + options.steps
            ours = lambda: lethe(options, method, precision, run, steps)
            common.alternate(options.rounds, ours, lambda: theirs(*best), "lightly")


if __name__ == "__main__":
    main()

"""Runs every script of bench and docs in a small form, each by a Python that sees no installed packages but those the script
asks for: what it needs must come from the environment that it makes or names. `cargo xtask test --peers` calls it.

    python3 bench/peers/smoke.py [SCRIPT ...]      # only these

It builds lethe in release mode and shows the seconds of each script. The figures that they print mean nothing.
Left out: docs/results/first-run.sh and observations.sh, which train for hours.
"""

import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

PEERS = common.ROOT / "bench/peers"
RESULTS = common.ROOT / "docs/results"
# No variables, no packages of the user or of the installation; no folder of compiled code stays behind.
BARE = [sys.executable, "-B", "-E", "-s", "-S"]
SIZE = 32


def write_images(folder, classes, per_class):
    """folder/CLASS/I.bmp, 32 x 32: a colour a class, and noise."""
    draw = random.Random(0)
    pixels = 3 * SIZE * SIZE
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + pixels, 0, 0, 54, 40, SIZE, SIZE, 1, 24, 0, pixels, 2835, 2835, 0, 0)
    for of_class in range(classes):
        (folder / str(of_class)).mkdir(parents=True)
        base = [draw.randrange(128) for _ in range(3)] * (SIZE * SIZE)
        for i in range(per_class):
            noise = draw.randbytes(pixels)
            body = bytes(colour + value // 2 for colour, value in zip(base, noise))
            (folder / str(of_class) / f"{i}.bmp").write_bytes(header + body)


def small_plan(path):
    """The plan of methods.py with few images, two steps and one seed."""
    text = (RESULTS / "methods.toml").read_text()
    for told, small in [("images = 5000", "images = 250"), ("seeds = [0, 1, 2]", "seeds = [0]"), ("epochs = 12\n", "epochs = 1\n"),
                        ("epochs = 48\n", "epochs = 1\n"), ("warmup_epochs = 2\n", "warmup_epochs = 0\n"),
                        ("warmup_epochs = 5\n", "warmup_epochs = 0\n"), ("save_every = 12\n", "save_every = 1\n"),
                        ("save_every = 48\n", "save_every = 1\n")]:
        assert told in text, f"docs/results/methods.toml: no {told!r}"
        text = text.replace(told, small)
    path.write_text(text)


def main():
    python = common.python()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "train", 10, 60)
        write_images(folder / "test", 10, 10)
        small_plan(folder / "methods.toml")
        shutil.copy(RESULTS / "observations.jsonl", folder)
        narrow = ["--encoder", "resnet18-w4", "--rounds", 1, "--workers", 0, "--precision", "f32"]
        scripts = [
            (RESULTS / "observations.py", ["table", folder / "observations.jsonl"]),
            (RESULTS / "observations.py", ["plots", folder / "observations.jsonl"]),
            (PEERS / "methods.py", ["--table"]),
            (PEERS / "measures.py", ["--rows", 2000, "--columns", 64]),
            (PEERS / "methods.py", [folder, "--out", folder / "methods", "--plan", folder / "methods.toml"]),
            (PEERS / "pretrain.py", [folder / "train", *narrow]),
            (PEERS / "views.py", [folder / "train", "--rounds", 1, "--images", 600]),
            (PEERS / "undo.py", ["--rounds", 1]),
        ]
        wanted = sys.argv[1:]
        for script, arguments in scripts:
            if wanted and script.name not in wanted:
                continue
            start = time.perf_counter()
            # Drawing needs matplotlib; else no package is to be seen.
            python_of_it = [python] if arguments[0] == "plots" else BARE
            common.run([*python_of_it, script, *arguments])
            told = " ".join(str(argument) for argument in arguments if argument in ("table", "plots", "--table"))
            print(f"{script.name + ' ' + told:<24} {time.perf_counter() - start:6.1f} s", flush=True)
            if told == "plots" and not list((folder / "observations").glob("*.png")):
                sys.exit("observations.py plots: no picture")


if __name__ == "__main__":
    main()

"""What the peer scripts share: the Python of the peers, and runs of both sides in turn."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Where cargo puts what it builds.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or "target")
TARGET = TARGET if TARGET.is_absolute() else ROOT / TARGET
LETHE = TARGET / "release/lethe"


def python():
    """The Python that LETHE_PEERS_PYTHON names, or that of target/peers-venv, which is made on first use (several GB)."""
    named = os.environ.get("LETHE_PEERS_PYTHON")
    if named:
        return named
    made = subprocess.run(["cargo", "xtask", "setup", "--peers"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout.splitlines()[-1]


def run(command):
    """The stdout of a command; what it says on stderr is shown if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def build(*target):
    """Builds in release mode and shows cargo's output."""
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "lethe", *target], cwd=ROOT, check=True)


def alternate(rounds, lethe, peer, name):
    """Both rates `rounds` times, one after the other, and the median of the rounds' ratios."""
    ratios = []
    for round_ in range(1, rounds + 1):
        ours, theirs = lethe(), peer()
        ratios.append(ours / theirs)
        print(f"round {round_}: lethe {ours:.1f} images/s, {name} {theirs:.1f} images/s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio lethe / {name}: {statistics.median(ratios):.2f} (of {rounds}, {min(ratios):.2f} to {max(ratios):.2f})")

"""`lethe measure` against the straightforward NumPy of the same measures, on features of 50,000 x 2,048 float32 with
ten classes: seconds, peak memory, ratio; every number of both sides must agree to 1e-6. And the compressed rate of 25,000
pairs in closed form against a loop over d x d determinants, of which 50 pairs are timed.

    python3 bench/peers/measures.py [--rows 50000] [--columns 2048] [--only spectra,pairs,views]

Straightforward is: float64, a full SVD for each of RankMe and effective rank (alpha-ReQ takes the latter's), slogdet of
d x d for every class, whole rows of the n x n distances a block at a time, once for each measure that needs them.
NumPy runs in the Python that bench/peers/common.py makes or LETHE_PEERS_PYTHON names, with as many threads as its BLAS takes.
Measures of clusters are left out: their starts are drawn, and NumPy would draw others.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

LETHE = common.LETHE
PARTS = {
    "spectra": ["coding_rate", "compressed_rate", "coding_rate_reduction", "rankme", "effective_rank", "alpha_req"],
    "pairs": ["uniformity", "two_nn"],
}
BLOCK = 1000
TIMED_PAIRS = 50


def make(folder, n, d):
    """Runs in the peer's Python: features in ten overlapping classes, with a power law for a spectrum."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(n) % 10
    scale = np.arange(1, d + 1) ** -0.5
    turn, _ = np.linalg.qr(rng.standard_normal((d, d)))
    means = 0.5 * rng.standard_normal((10, d))
    z = np.empty((n, d), np.float32)
    for i in range(0, n, 5000):
        rows = labels[i : i + 5000]
        z[i : i + 5000] = ((rng.standard_normal((len(rows), d)) + means[rows]) * scale) @ turn.T
    np.save(folder / "F.npy", z)
    np.save(folder / "L.npy", labels)


def spectra(z, labels):
    import numpy as np

    n, d = z.shape
    s = np.linalg.svd(z, compute_uv=False)
    p = s / s.sum() + 1e-7
    found = {"rankme": np.exp(-(p * np.log(p)).sum())}
    s = np.linalg.svd(z - z.mean(0), compute_uv=False)
    p = s / s.sum()
    found["effective_rank"] = np.exp(-(p * np.log(p)).sum())
    j = np.arange(10, min(100, d) + 1)
    slope = np.polyfit(np.log(j), np.log(s[j - 1] ** 2 / (n - 1)), 1, w=j**-0.5)[0]
    found["alpha_req"] = -slope
    u = z / np.linalg.norm(z, axis=1, keepdims=True)

    def rate(rows):
        return 0.5 * np.linalg.slogdet(np.eye(d) + d / (len(rows) * 0.5) * rows.T @ rows)[1]

    found["coding_rate"] = rate(u)
    found["compressed_rate"] = sum((labels == c).mean() * rate(u[labels == c]) for c in np.unique(labels))
    found["coding_rate_reduction"] = found["coding_rate"] - found["compressed_rate"]
    return found


def pairs(z, labels):
    import numpy as np

    n = len(z)
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    total = 0.0
    for i in range(0, n, BLOCK):
        total += np.exp(-2 * (2 - 2 * u[i : i + BLOCK] @ u.T)).sum()
    found = {"uniformity": np.log((total - n) / (n * (n - 1)))}
    z = z - z.mean(0)
    squares = (z**2).sum(1)
    ratios = []
    for i in range(0, n, BLOCK):
        distances = squares[i : i + BLOCK, None] + squares - 2 * z[i : i + BLOCK] @ z.T
        distances[np.arange(len(distances)), np.arange(i, i + len(distances))] = np.inf
        nearest = np.sqrt(np.partition(distances, 1, axis=1)[:, :2])
        ratios.append(nearest[:, 1] / nearest[:, 0])
    mu = np.sort(np.concatenate(ratios))
    kept = n * 90 // 100
    x, y = np.log(mu[:kept]), -np.log(1 - np.arange(1, kept + 1) / n)
    found["two_nn"] = (x @ y) / (x @ x)
    return found


def views(z, labels):
    """The loop over d x d determinants, of the first TIMED_PAIRS pairs of rows i and i + n/2."""
    import numpy as np

    n, d = z.shape
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    start = time.perf_counter()
    rates = [0.5 * np.linalg.slogdet(np.eye(d) + d / (2 * 0.5) * u[[i, i + n // 2]].T @ u[[i, i + n // 2]])[1]
             for i in range(TIMED_PAIRS)]
    return {"seconds": (time.perf_counter() - start) * (n // 2) / TIMED_PAIRS, "compressed_rate": np.mean(rates)}


def peer(part, folder):
    """Runs in the peer's Python: prints the numbers, the seconds without the reading, and the peak in GiB."""
    import numpy as np

    z = np.load(folder / "F.npy").astype(np.float64)
    labels = np.load(folder / "L.npy")
    start = time.perf_counter()
    found = {"spectra": spectra, "pairs": pairs, "views": views}[part](z, labels)
    found = {name: float(value) for name, value in found.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"measures": found, "seconds": time.perf_counter() - start, "peak": peak}))


def measured(command):
    """The JSON that a command prints, its seconds from start to end, and its peak in GiB."""
    start = time.perf_counter()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, cwd=common.ROOT)
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return json.loads(printed), time.perf_counter() - start, usage.ru_maxrss / 2**20


def lethe(folder, names, groups):
    report, seconds, peak = measured([LETHE, "measure", folder / "F.npy", "--json", "--only", ",".join(names), *groups])
    return report["measures"], seconds, peak


def compare(part, folder):
    labelled = ["--labels", folder / "L.npy"]
    ours, seconds, peak = lethe(folder, PARTS[part], labelled)
    theirs, _, _ = measured([common.python(), __file__, "--peer", part, "--folder", folder])
    for name, value in theirs["measures"].items():
        assert abs(ours[name] / value - 1) < 1e-6, f"{name}: lethe {ours[name]}, NumPy {value}"
    print(f"{part}: lethe {seconds:.1f} s, {peak:.2f} GiB (reading included); NumPy {theirs['seconds']:.1f} s, "
          f"{theirs['peak']:.2f} GiB; ratio {theirs['seconds'] / seconds:.1f}", flush=True)
    return seconds, theirs["seconds"]


def compare_views(folder, n, d):
    """Seconds of the closed form are those of the whole command, its reading and its start included."""
    ours, seconds, peak = lethe(folder, ["compressed_rate"], ["--pairs"])
    theirs = measured([common.python(), __file__, "--peer", "views", "--folder", folder])[0]["measures"]
    assert abs(ours["compressed_rate"] / theirs["compressed_rate"] - 1) < 0.05, (ours, theirs)
    loop = theirs["seconds"]
    print(f"R_c of {n // 2} pairs, d {d}: lethe {seconds:.2f} s, {peak:.2f} GiB; a loop over determinants "
          f"{loop:.0f} s ({TIMED_PAIRS} pairs timed, scaled); ratio {loop / seconds:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--only", default="spectra,pairs,views")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer == "make":
        return make(options.folder, options.rows, options.columns)
    if options.peer:
        return peer(options.peer, options.folder)

    common.build("--bin", "lethe")

    def made(folder, columns):
        folder.mkdir()
        size = ["--rows", options.rows, "--columns", columns]
        common.run([common.python(), __file__, "--peer", "make", "--folder", folder, *size])
        return folder

    with tempfile.TemporaryDirectory() as folder:
        parts = options.only.split(",")
        wide = made(Path(folder) / "wide", options.columns)
        times = [compare(part, wide) for part in PARTS if part in parts]
        if len(times) > 1:
            ours, theirs = map(sum, zip(*times))
            print(f"both: lethe {ours:.1f} s, NumPy {theirs:.1f} s, ratio {theirs / ours:.1f}")
        if "views" in parts:
            compare_views(wide, options.rows, options.columns)
            compare_views(made(Path(folder) / "narrow", 512), options.rows, 512)


if __name__ == "__main__":
    main()

"""Measures the table of costs of `src/costs.rs` anew and prints it: seconds by rows and columns of every step of the
measures, and of the singular values in NumPy. Takes ten minutes of a quiet machine.

    python benches/costs.py          (in crates/lethe-measures; numpy, scipy)

`cargo test --release -p lethe-measures --lib costs -- --ignored --nocapture` measures the steps; its lines may be given
on standard input instead, with `-`.
"""

import subprocess
import sys
import time

import numpy as np
from scipy.optimize import nnls

# The powers of rows, columns and the smaller of the two in the terms of each step. What solvers do with d x d matrices
# grows as the fourth power where these leave the cache; k-means takes more rounds of more rows.
TERMS = {
    "Spectra": [(1, 1, 1), (0, 0, 4)],
    "UnitGram": [(1, 1, 0), (1, 1, 1)],
    "Determinant": [(0, 0, 2), (0, 0, 3)],
    "Groups": [(1, 1, 0), (1, 1, 1)],
    "Pairs": [(2, 0, 0), (2, 1, 0)],
    "Clusterings": [(1.6, 1, 0)],
    "DenseClusters": [(1.3, 1, 0), (0, 0, 4)],
    "Trees": [(2.2, 1, 0)],
    "Copies": [(1, 1, 0)],
    "Views": [(1, 1, 0)],
    "Whitening": [(1, 2, 0), (0, 3, 0)],
    "Learnability": [(1.5, 1, 0), (2, 0, 0), (2, 1, 0)],
    "NumPy": [(1, 1, 1), (0, 0, 3)],
}
SIZES = [(2_000, 128), (1_000, 1_000), (2_000, 512), (5_000, 512), (20_000, 128), (2_000, 2_048)]
SIZES += [(20_000, 1_024), (50_000, 512), (50_000, 2_048)]
# Multiplications up to which an ill-conditioned matrix is decomposed: QR_BUDGET of src/spectrum.rs.
DECOMPOSED = 1e9


def numpy_svd(n, d):
    z = np.random.default_rng(0).standard_normal((n, d))
    seconds = []
    while len(seconds) < 3 and sum(seconds) < 10:
        start = time.perf_counter()
        np.linalg.svd(z, compute_uv=False)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def of_crate():
    command = "cargo test --release -p lethe-measures --lib costs -- --ignored --nocapture"
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout.splitlines()


def fit(name, sizes, seconds):
    """Coefficients not below 0, by relative errors, but for what takes no time. A decomposition adds to the spectra."""
    n, d = np.array(sizes, dtype=float).T
    terms = TERMS[name]
    columns = np.array([n**a * d**b * np.minimum(n, d) ** c for a, b, c in terms]).T
    if name == "Spectra":
        columns = np.hstack([columns, (columns[:, 0] * (columns[:, 0] <= DECOMPOSED))[:, None]])
        terms = terms + terms[:1]
    weights = 1 / (np.array(seconds) + 0.02)
    coefficients, _ = nnls(columns * weights[:, None], seconds * weights)
    # What takes long is not said to take more than a tenth less; NumPy, which makes the budget, not to take more.
    long = seconds > 1
    if long.any():
        ratios = (seconds / (columns @ coefficients))[long]
        coefficients *= ratios.min() if name == "NumPy" else max(1, 0.9 * ratios.max())
    for (a, b, c), coefficient in zip(terms, coefficients):
        print(f"{name}: term({coefficient:.2e}, {float(a)}, {float(b)}, {float(c)})")
    for size, found, predicted in zip(sizes, seconds, columns @ coefficients):
        print(f"    {size[0]} x {size[1]}: {found:.3f} s, by the table {predicted:.3f} s")


lines = [line.split() for line in (sys.stdin if "-" in sys.argv else of_crate())]
for name in TERMS:
    found = [line for line in lines if line and line[0] == name]
    if name == "NumPy":
        found = [(name, n, d, numpy_svd(n, d)) for n, d in SIZES]
    if found:
        fit(name, [(int(line[1]), int(line[2])) for line in found], np.array([float(line[3]) for line in found]))

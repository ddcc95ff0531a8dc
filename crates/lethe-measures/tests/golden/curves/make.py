"""Onsets and choices of a few curves by their definitions, in plain NumPy loops over single contrasts and replicates;
Kendall's tau-b and Spearman's rho by SciPy 1.17.1 (scipy.stats.kendalltau, scipy.stats.spearmanr).

    python make.py case.safetensors        (numpy 2.4.6, scipy 1.17.1)

A case's tensors are named after it: step/epochs, step/curves [stages, checkpoints], step/replicates [replicates,
stages, checkpoints], and what is expected: step/onsets, a row a stage: p, both ends of the interval, epoch,
checkpoint, abrupt, rise and both ends of its interval, all but p NaN where none is seen; of its last stage step/best,
step/as_good and step/losses [checkpoints, 3]. Ranks: ranks/0/x, ranks/0/y, ranks/0/tau, ranks/0/rho.
"""

import math
import sys

import numpy as np
from safetensors.numpy import save_file
from scipy import stats


def upper_quantile(draws, beyond):
    return np.sort(draws)[math.ceil((len(draws) + 1) * (1 - beyond)) - 1]


def t_values(weights, curve, deviations):
    """A contrast of the curve and of every deviation, over its standard error."""
    drawn = np.array([sum(w * d for w, d in zip(weights, row)) for row in deviations])
    error = np.sqrt(np.mean(drawn**2))
    return sum(w * y for w, y in zip(weights, curve)) / error, drawn / error


def mean_of(n, start, end):
    return np.array([1 / (end - start) if start <= i < end else 0 for i in range(n)])


def rises(n, last):
    """Contrasts of a stretch with the one before it, or with all before it, that end at checkpoint `last` or before."""
    found = []
    for end in range(1, last + 1):
        length = 1
        while length <= end:
            start = end + 1 - length
            for before in {start, length} if length < start else {start}:
                found.append(mean_of(n, start, end + 1) - mean_of(n, start - before, start))
            length *= 2
    return found


def largest(contrasts, curve, deviations):
    values = [t_values(c, curve, deviations) for c in contrasts]
    return max(v for v, _ in values), np.max([d for _, d in values], axis=0)


def refuses_abrupt(epochs, after, by, curve, deviations):
    n = len(epochs)
    contrasts = []
    for split in range(after + 1, n):
        for i in {1, 4, split - after}:
            for j in {1, 4, n - split}:
                if i > split - after or j > n - split:
                    continue
                early, late = range(split - i, split), range(split, split + j)
                time_early = sum(epochs[t] - by for t in early)
                time_late = sum(epochs[t] - by for t in late)
                if time_early <= 0:
                    continue
                for base in {0, after - 1}:
                    # The rise summed over the late stretch, scaled to the time of the early one, halved, less its rise.
                    level = mean_of(n, base, after)
                    scale = time_early / time_late / 2
                    weights = np.zeros(n)
                    for t in late:
                        weights = weights + scale * (np.eye(n)[t] - level)
                    for t in early:
                        weights = weights - (np.eye(n)[t] - level)
                    contrasts.append(weights)
    if not contrasts:
        return False
    found, drawn = largest(contrasts, curve, deviations)
    return found > upper_quantile(drawn, 0.025)


def fitted(epochs, curve):
    best, at = 0, None
    for after in range(1, len(epochs)):
        low, high = epochs[after - 1], epochs[after]
        candidates = [((low + high) / 2, (epochs >= high).astype(float))]
        for full in epochs[after + 1 :]:
            for part in range(4):
                tau = low + (high - low) * part / 4
                candidates.append((tau, np.clip((epochs - tau) / (full - tau), 0, 1)))
        for tau, ramp in candidates:
            design = np.column_stack([np.ones(len(epochs)), ramp])
            line, *_ = np.linalg.lstsq(design, curve, rcond=None)
            explained = np.sum((curve - curve.mean()) ** 2) - np.sum((curve - design @ line) ** 2)
            if line[1] > 0 and explained > best * (1 + 1e-12):
                best, at = explained, tau
    return at


def onsets(epochs, curves, replicates):
    stages, n = curves.shape
    deviations = replicates - replicates.mean(0)
    overall = [largest(rises(n, n - 1), curves[s], deviations[:, s]) for s in range(stages)]
    # Step-down: a stage is compared with the largest of all stages that are not further out than itself.
    ps = []
    for s in range(stages):
        ahead = [r for r in range(stages) if overall[r][0] >= overall[s][0]]
        p = 0
        for r in ahead:
            rest = [q for q in range(stages) if overall[q][0] <= overall[r][0]]
            most = np.max([overall[q][1] for q in rest], axis=0)
            p = max(p, (1 + np.sum(most >= overall[r][0])) / (1 + len(most)))
        ps.append(p)
    rows = []
    for s in range(stages):
        if ps[s] > 0.025:
            rows.append([ps[s]] + [np.nan] * 8)
            continue
        latest = n - 1
        for end in range(n - 1, 0, -1):
            found, drawn = largest(rises(n, end), curves[s], deviations[:, s])
            if not found > upper_quantile(drawn, 0.025):
                break
            latest = end
        earliest = None
        for after in range(1, latest + 1):
            if refuses_abrupt(epochs, after, epochs[after], curves[s], deviations[:, s]):
                continue
            ends = [epochs[after - 1] + (epochs[after] - epochs[after - 1]) * k / 4 for k in range(5)]
            refused = [refuses_abrupt(epochs, after, ends[k + 1], curves[s], deviations[:, s]) for k in range(4)]
            earliest = ends[refused.index(False)]
            break
        low, high = earliest if earliest is not None else epochs[0], epochs[latest]
        epoch = min(max(fitted(epochs, curves[s]), low), high)
        checkpoint = max(min(int(np.sum(epochs <= epoch)), latest), 1)
        rise = curves[s, -1] - curves[s, :checkpoint].mean()
        width = upper_quantile(np.abs(deviations[:, s, -1] - deviations[:, s, :checkpoint].mean(1)), 0.05)
        rows.append([ps[s], low, high, epoch, checkpoint, earliest is not None, rise, rise - width, rise + width])
    return np.array(rows, dtype=float)


def choice(curve, replicates):
    n = len(curve)
    deviations = replicates - replicates.mean(0)
    best = int(np.argmax(curve))
    apart = [[deviations[:, a] - deviations[:, b] for b in range(n)] for a in range(n)]
    error = np.array([[np.sqrt(np.mean(apart[a][b] ** 2)) for b in range(n)] for a in range(n)])
    as_good = []
    for this in range(n):
        others = [o for o in range(n) if o != this]
        found = max((curve[o] - curve[this]) / error[o, this] for o in others)
        drawn = np.max([(deviations[:, o] - deviations[:, this]) / error[o, this] for o in others], axis=0)
        as_good.append(this == best or found <= upper_quantile(drawn, 0.05))
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    critical = upper_quantile(np.max([apart[a][b] / error[a, b] for a, b in pairs], axis=0), 0.05)
    losses = [[curve[best] - curve[t] + k * critical * error[best, t] for k in (0, -1, 1)] for t in range(n)]
    return best, as_good, losses


rng = np.random.default_rng(3)


def draw(epochs, means, images, replicates=199):
    """Bootstrap means of images whose errors are correlated over checkpoints, stages and with heavy tails."""
    stages, n = means.shape
    steps = rng.standard_normal((images, stages, n)) * 0.5
    effect = rng.standard_t(3, (images, 1, 1)) + rng.standard_normal((images, stages, 1))
    x = means + effect + np.cumsum(steps, axis=2) + 0.3 * rng.standard_t(4, (images, stages, n))
    chosen = rng.integers(0, images, (replicates, images))
    return x.mean(0), np.array([x[c].mean(0) for c in chosen])


def ramp(epochs, start, end, height):
    return height * np.clip((epochs - start) / (end - start), 0, 1)


geometric = np.round(np.geomspace(1, 300, 10)) - 1
irregular = np.array([0, 5, 20, 30, 60, 61, 90, 150, 151.5, 200, 300])
few = np.array([0.0, 30, 60, 300])
curves = {
    "step": (irregular, np.array([0.8 * (irregular >= 90), 0 * irregular])),
    "ramp": (geometric, np.array([ramp(geometric, 20, 300, 2.0)])),
    "saturating": (irregular, np.array([np.where(irregular > 25, 1 - np.exp(-(irregular - 25) / 40), 0)])),
    "few": (few, np.array([0 * few, 0.1 * (few > 30), 0.6 * (few > 30)])),
    "accelerating": (irregular, np.array([6 * (irregular / 300) ** 4])),
    "flat": (geometric, np.array([0 * geometric])),
}

case = {}
for name, (epochs, means) in curves.items():
    mean, replicates = draw(epochs, means, 150)
    rows = onsets(epochs, mean, replicates)
    best, as_good, losses = choice(mean[-1], replicates[:, -1])
    values = {
        "epochs": epochs,
        "curves": mean,
        "replicates": replicates,
        "onsets": rows,
        "best": np.array([best]),
        "as_good": np.array(as_good).astype(np.int64),
        "losses": np.array(losses),
    }
    case.update({f"{name}/{key}": np.ascontiguousarray(value) for key, value in values.items()})

for index, (n, levels) in enumerate([(5, 100), (7, 3), (12, 5), (40, 1000), (40, 4), (33, 2)]):
    x = rng.integers(0, levels, n).astype(float)
    y = np.round(x + levels * rng.standard_normal(n)) / 7
    expected = {"tau": stats.kendalltau(x, y).statistic, "rho": stats.spearmanr(x, y).statistic}
    case.update({f"ranks/{index}/{key}": np.array(value) for key, value in {"x": x, "y": y, **expected}.items()})

save_file(case, sys.argv[1])

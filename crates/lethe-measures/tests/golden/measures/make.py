"""Measures of small matrices by the formulas as they stand, in NumPy float64: full singular value decompositions,
loops over groups with slogdet of d x d matrices, loops over pairs of rows. k-NN votes as lightly 1.6.0's knn_predict
(https://github.com/lightly-ai/lightly/blob/v1.6.0/lightly/utils/benchmarking/knn.py), held to scikit-learn 1.9.1.

    python make.py case.safetensors        (numpy 2.4.6, scikit-learn 1.9.1)

A matrix's tensors are named after it: gaussian/z, gaussian/labels, gaussian/eps2, and what is expected of its rows,
of its pairs and of its classes: gaussian/rows/rankme, gaussian/by_pair/compressed_rate. A measure it does not allow
is NaN.
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn.neighbors import KNeighborsClassifier


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def rate(z, eps2):
    n, d = z.shape
    return 0.5 * np.linalg.slogdet(np.eye(d) + d / (n * eps2) * z.T @ z)[1]


def compressed(z, labels, eps2):
    return sum(np.mean(labels == c) * rate(z[labels == c], eps2) for c in np.unique(labels))


def exp_entropy(p):
    p = p[p > 0]
    return np.exp(-np.sum(p * np.log(p)))


def rankme(z):
    s = np.linalg.svd(z, compute_uv=False)
    return exp_entropy(s / s.sum() + 1e-7)


def effective_rank(z):
    s = np.linalg.svd(z - z.mean(0), compute_uv=False)
    return exp_entropy(s / s.sum())


def alpha_req(z):
    n, d = z.shape
    s = np.linalg.svd(z - z.mean(0), compute_uv=False)
    rank = np.sum(s > s[0] * max(n, d) * np.finfo(float).eps)
    if rank < 11:
        return np.nan
    j = np.arange(10, min(100, rank) + 1)
    slope, _ = np.polyfit(np.log(j), np.log(s[j - 1] ** 2 / (n - 1)), 1, w=np.sqrt(1.0 / j))
    return -slope


def uniformity(u):
    n = len(u)
    return np.log(np.mean([np.exp(-2 * np.sum((u[i] - u[j]) ** 2)) for i in range(n) for j in range(i + 1, n)]))


def alignment(u):
    half = len(u) // 2
    return np.mean([np.sum((u[i] - u[i + half]) ** 2) for i in range(half)])


def lidar(z, q):
    images, d = len(z) // q, z.shape[1]
    views = z.reshape(q, images, d).transpose(1, 0, 2)
    means = views.mean(1)
    centre = means.mean(0)
    between = sum(np.outer(m - centre, m - centre) for m in means) / (images - 1)
    within = sum(np.outer(x - m, x - m) for m, v in zip(means, views) for x in v) / (images * (q - 1)) + 1e-4 * np.eye(d)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.clip(np.linalg.eigvalsh(root @ between @ root), 0, None)
    return exp_entropy(eigenvalues / eigenvalues.sum() + 1e-8)


def knn(bank, bank_labels, query, query_labels, k, t, leave_one_out=False):
    votes_for = []
    for i, u in enumerate(unit(query)):
        cosines = unit(bank) @ u
        if leave_one_out:
            cosines[i] = -np.inf
        nearest = np.argsort(-cosines, kind="stable")[:k]
        votes = [np.sum(np.exp(cosines[nearest] / t)[bank_labels[nearest] == c]) for c in np.unique(bank_labels)]
        votes_for.append(np.unique(bank_labels)[np.argmax(votes)])
    if not leave_one_out:
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / t))
        assert np.array_equal(model.fit(bank, bank_labels).predict(query), votes_for)
    return np.mean(votes_for == query_labels)


rng = np.random.default_rng(2)


def with_spectrum(n, s):
    d = len(s)
    left = np.linalg.qr(rng.standard_normal((n, d)))[0]
    right = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return left @ np.diag(s) @ right


matrices = {
    "gaussian": rng.standard_normal((60, 16)).round(4),
    "wide": rng.standard_normal((18, 40)).round(4),
    "offset": (rng.standard_normal((50, 24)) + 30 * rng.standard_normal(24)).round(4),
    "rank_deficient": rng.standard_normal((48, 12)) @ rng.standard_normal((12, 20)),
    "rank_deficient_wide": rng.standard_normal((20, 6)) @ rng.standard_normal((6, 30)),
    "dead_columns": (np.maximum(rng.standard_normal((60, 20)), 0) * (np.arange(20) % 3 > 0)).round(4),
    "power_law": with_spectrum(80, np.arange(1, 31.0) ** -1.2),
    "down_to_1e-8": with_spectrum(80, np.logspace(0, -8, 30)),
    "noise_floor": rng.standard_normal((150, 8)) @ rng.standard_normal((8, 12)) + 0.01 * rng.standard_normal((150, 12)),
}

case = {}


def add(place, values):
    case.update({f"{place}/{key}": np.ascontiguousarray(value) for key, value in values.items()})


for index, (name, z) in enumerate(matrices.items()):
    n, d = z.shape
    labels = rng.integers(0, 5, n) * 7
    u = unit(z)
    eps2 = 0.5 if index % 2 == 0 else 0.1
    add(name, {"z": z, "labels": labels, "eps2": np.array(eps2)})
    rows = {
        "coding_rate": rate(u, eps2),
        "rankme": rankme(z),
        "effective_rank": effective_rank(z),
        "alpha_req": alpha_req(z),
        "uniformity": uniformity(u),
    }
    add(f"{name}/rows", rows)
    for groups, group in [("by_class", labels), ("by_pair", np.tile(np.arange(n // 2), 2))]:
        r_c = compressed(u, group, eps2)
        add(f"{name}/{groups}", {"compressed_rate": r_c, "coding_rate_reduction": rows["coding_rate"] - r_c})
    add(f"{name}/by_pair", {"alignment": alignment(u), "lidar": lidar(z, 2)})
    if n % 3 == 0:
        add(name, {"lidar_3_views": lidar(z, 3)})

centres = rng.standard_normal((6, 12))
labels = rng.integers(0, 6, 120)
bank = (centres[labels] + 1.3 * rng.standard_normal((120, 12))).round(3)
query_labels = rng.integers(0, 6, 70)
query = (centres[query_labels] + 1.3 * rng.standard_normal((70, 12))).round(3)
labels, query_labels = labels * 3 + 1, query_labels * 3 + 1
add("knn", {"bank": bank, "bank_labels": labels, "query": query, "query_labels": query_labels})
settings = [(1, 0.1), (5, 0.1), (20, 0.1), (20, 0.07), (100, 0.1), (100, 1.0)]
add("knn", {"k": np.array([k for k, _ in settings]), "temperature": np.array([t for _, t in settings])})
add("knn", {"against": np.array([knn(bank, labels, query, query_labels, k, t) for k, t in settings])})
add("knn", {"leave_one_out": np.array([knn(bank, labels, bank, labels, k, t, leave_one_out=True) for k, t in settings])})

save_file(case, sys.argv[1])

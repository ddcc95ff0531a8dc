"""Measures of small matrices by the formulas as they stand, in NumPy float64: full singular value decompositions,
loops over groups with slogdet of d x d matrices, loops over pairs of rows. k-NN votes as lightly 1.6.0's knn_predict
(https://github.com/lightly-ai/lightly/blob/v1.6.0/lightly/utils/benchmarking/knn.py), held to scikit-learn 1.9.1.
k-means from given centres, silhouette, adjusted mutual information and the ROC curve are scikit-learn's, minimum
spanning trees SciPy's; the parts of DSE are held to lightly's.

    python make.py case.safetensors        (numpy 2.4.6, scikit-learn 1.9.1, scipy 1.17.1, torch 2.11.0, lightly 1.6.0)

A matrix's tensors are named after it: gaussian/z, gaussian/labels, gaussian/eps2, and what is expected of its rows,
of its pairs and of its classes: gaussian/rows/rankme, gaussian/by_pair/compressed_rate. A measure it does not allow
is NaN.
"""

import sys

import numpy as np
import torch
from lightly.loss.regularizer import DSERegularizer
from safetensors.numpy import save_file
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, roc_auc_score, roc_curve, silhouette_score
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


def stable_rank(z):
    return np.linalg.norm(z, "fro") ** 2 / np.linalg.norm(z, 2) ** 2


def nesum(z):
    values = np.linalg.eigvalsh(np.cov(z.T))
    return values.sum() / values.max()


def self_cluster(u):
    n, d = u.shape
    even = n + n * (n - 1) / d
    return (np.linalg.norm(u @ u.T, "fro") ** 2 - even) / (n**2 - even)


def cluster_learnability(z, labels, first):
    u, second = unit(z), np.setdiff1d(np.arange(len(z)), first)
    return np.mean([labels[first[np.argmax(u[first] @ u[row])]] == labels[row] for row in second])


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


def alignment(u, q=2):
    n = len(u) // q
    pairs = [(v, w) for v in range(q) for w in range(v)]
    return np.mean([np.sum((u[v * n + i] - u[w * n + i]) ** 2) for i in range(n) for v, w in pairs])


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


def two_nn(z):
    ratios = []
    for i in range(len(z)):
        near = np.sort([np.linalg.norm(z[i] - z[j]) for j in range(len(z)) if j != i])
        if near[0] > 0:
            ratios.append(near[1] / near[0])
    n = len(ratios)
    x = np.log(np.sort(ratios))[: int(0.9 * n)]
    y = -np.log(1 - np.arange(1, len(x) + 1) / n)
    return np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]


def tree_length(z):
    return minimum_spanning_tree(cdist(z, z)).sum()


def dse(z, labels):
    u = unit(z)
    names = np.unique(labels)
    spread = np.linalg.norm(u - u.mean(0), axis=1).mean()
    centres = {c: u[labels == c].mean(0) for c in names}
    between = np.mean([min(np.linalg.norm(r - centres[o]) for o in names if o != c) for r, c in zip(u, labels)])
    clusters = [u[labels == c] for c in names if np.sum(labels == c) > 1]
    norms = [np.linalg.svd(c - c.mean(0), compute_uv=False).sum() / np.sqrt(max(len(c) - 1, z.shape[1])) for c in clusters]
    s = np.linalg.svd(u, compute_uv=False)
    return np.array([between / spread, exp_entropy(s / s.sum()) / min(z.shape), np.mean(norms) / spread])


def dse_of_lightly(z, labels):
    """lightly 1.6.0's DSERegularizer (https://github.com/lightly-ai/lightly/blob/v1.6.0/lightly/loss/regularizer/dse.py), with
    these clusters in place of its own k-means."""
    u = torch.from_numpy(unit(z))
    _, index = np.unique(labels, return_inverse=True)
    index = torch.from_numpy(index)
    regularizer = DSERegularizer()
    regularizer._kmeans = lambda x, _: (torch.stack([x[index == c].mean(0) for c in range(int(index.max()) + 1)]), index)
    between, within = regularizer._batch_structure(u[None])
    spread = (u - u.mean(0)).norm(dim=1).mean()
    return np.array([between / spread, regularizer._effective_dimensionality(u), within / spread])


def unitmem(activations):
    """As UnitMem.py in https://github.com/sprintml/LocalizingMemorizationInSSL: the median without the largest."""
    means = activations.mean(1)
    largest, median = means.max(0), np.median(np.sort(means, axis=0)[:-1], axis=0)
    return np.divide(largest - median, largest + median, out=np.zeros_like(largest), where=largest > 0)


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.sum((y.T @ x) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def debiased_cka(x, y):
    """By the unbiased HSIC of Song et al. 2012, equation 5, with n x n Gram matrices."""

    def hsic(k, l):
        n = len(k)
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
        return np.trace(k @ l) + k.sum() * l.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * k.sum(0) @ l.sum(0)

    k, l = x @ x.T, y @ y.T
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def delong(members, others):
    """The area and its standard error by the structural components as they are defined."""
    psi = (members[:, None] > others).astype(float) + 0.5 * (members[:, None] == others)
    return psi.mean(), np.sqrt(psi.mean(1).var(ddof=1) / len(members) + psi.mean(0).var(ddof=1) / len(others))


def delong_change(before, after):
    """The change of the area and its standard error by the covariances of the components, as the paper has it."""
    psi = [(m[:, None] > n).astype(float) + 0.5 * (m[:, None] == n) for m, n in (before, after)]
    covariance = np.cov([p.mean(1) for p in psi]) / len(psi[0]) + np.cov([p.mean(0) for p in psi]) / psi[0].shape[1]
    contrast = np.array([-1, 1])
    return psi[1].mean() - psi[0].mean(), np.sqrt(contrast @ covariance @ contrast)


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
        "two_nn": two_nn(z),
        "stable_rank": stable_rank(z),
        "nesum": nesum(z),
        "self_cluster": self_cluster(u),
    }
    add(f"{name}/rows", rows)
    for groups, group in [("by_class", labels), ("by_pair", np.tile(np.arange(n // 2), 2))]:
        r_c = compressed(u, group, eps2)
        add(f"{name}/{groups}", {"compressed_rate": r_c, "coding_rate_reduction": rows["coding_rate"] - r_c})
    unit_mem = unitmem(z.reshape(2, n // 2, d).transpose(1, 0, 2)).mean() if z.min() >= 0 else np.nan
    add(f"{name}/by_pair", {"alignment": alignment(u), "unitmem": unit_mem})
    np.testing.assert_allclose(dse(z, labels), dse_of_lightly(z, labels), rtol=1e-9)
    add(name, {"dse": dse(z, labels), "silhouette": silhouette_score(z, labels), "tree_length": tree_length(z)})
    for q in [q for q in (3, 10) if n % q == 0]:
        r_c = compressed(u, np.tile(np.arange(n // q), q), eps2)
        values = {"compressed_rate": r_c, "coding_rate_reduction": rows["coding_rate"] - r_c, "alignment": alignment(u, q)}
        unit_mem = unitmem(z.reshape(q, n // q, d).transpose(1, 0, 2)).mean() if z.min() >= 0 else np.nan
        add(f"{name}/by_{q}_views", values | {"unitmem": unit_mem, "lidar": lidar(z, q) if q >= 10 else np.nan})
    first = np.arange(0, n, 2)
    add(name, {"learnability": cluster_learnability(z, labels, first)})

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

centres = 2 * rng.standard_normal((5, 8))
rows = (centres[rng.integers(0, 5, 140)] + rng.standard_normal((140, 8))).round(3)
start = rows[[3, 4, 5, 6, 7, 8]]
model = KMeans(6, init=start, n_init=1, tol=0, algorithm="lloyd").fit(rows)
far_start = np.concatenate([start[:4], 100 + start[4:]])
far_model = KMeans(6, init=far_start, n_init=1, tol=0, algorithm="lloyd").fit(rows)
add("kmeans", {"rows": rows, "start": start, "far_start": far_start})
for place, fitted in [("kmeans/found", model), ("kmeans/far_found", far_model)]:
    add(place, {"centres": fitted.cluster_centers_, "labels": fitted.labels_.astype(np.int64), "inertia": fitted.inertia_})

labellings = np.stack([
    model.labels_, far_model.labels_, (model.labels_ + 3) % 6, np.arange(140) // 35, rng.integers(0, 9, 140),
    np.where(rng.random(140) < 0.2, rng.integers(0, 6, 140), model.labels_), np.zeros(140), np.arange(140),
]).astype(np.int64)
add("ami", {"labellings": labellings.astype(float)})
add("ami", {"scores": np.array([[adjusted_mutual_info_score(a, b) for b in labellings] for a in labellings])})

points = matrices["noise_floor"]
subsamples = [rng.permutation(150)[:size] for size in [9, 9, 9, 18, 18, 37, 37, 75, 150]]
lengths = np.array([tree_length(points[rows]) for rows in subsamples])
sizes = np.unique([len(rows) for rows in subsamples])
mean_ln = [np.mean([np.log(l) for rows, l in zip(subsamples, lengths) if len(rows) == size]) for size in sizes]
add("idest", {"subsamples": np.concatenate(subsamples), "sizes": np.array([len(rows) for rows in subsamples])})
add("idest", {"lengths": lengths, "dimension": 1 / (1 - np.polyfit(np.log(sizes), mean_ln, 1)[0])})

for name, first, second in [("long", "gaussian", "dead_columns"), ("related", "power_law", "down_to_1e-8")]:
    x, y = matrices[first], matrices[second]
    y = y + x[:, :1] if name == "related" else y
    add(f"cka/{name}", {"x": x, "y": y, "cka": cka(x, y), "debiased": debiased_cka(x, y)})
x, y = matrices["wide"], (matrices["wide"] @ rng.standard_normal((40, 25)) + 30).round(3)
add("cka/wide", {"x": x, "y": y, "cka": cka(x, y), "debiased": debiased_cka(x, y)})

activations = (np.maximum(rng.standard_normal((13, 3, 8)), 0) * (np.arange(8) != 5)).round(3)
for images in [12, 13]:
    add(f"unitmem/{images}", {"activations": activations[:images].reshape(images, -1), "of_units": unitmem(activations[:images])})

members, others = (rng.standard_normal(150) + 0.7).round(1), rng.standard_normal(230).round(1)
false, true, _ = roc_curve(np.repeat([1, 0], [150, 230]), np.concatenate([members, others]), drop_intermediate=False)
auc, error = delong(members, others)
assert np.isclose(auc, roc_auc_score(np.repeat([1, 0], [150, 230]), np.concatenate([members, others])))
add("membership", {"members": members, "others": others, "auc": auc, "error": error, "tpr": true[false <= 0.01].max()})

trained, other = rng.random(40).round(4), rng.random(40).round(4) + 0.2
add("sslmem", {"with": trained, "without": other, "of_images": (other - trained) / np.ptp(other - trained)})

after, others_after = (0.6 * members + rng.standard_normal(150)).round(1), (0.8 * others + rng.standard_normal(230)).round(1)
auc, error = delong_change((members, others), (after, others_after))
add("membership", {"members_after": after, "others_after": others_after, "change": auc, "change_error": error})

originals = rng.standard_normal((90, 7))
nearly = originals[[4, 70, 70]] + 1e-7 * rng.standard_normal((3, 7))
near = originals[[5, 9]] + 1e-2 * rng.standard_normal((2, 7))
copied = np.concatenate([originals[:50], originals[[3, 3, 40]], nearly, originals[50:], near, originals[[70]]])
different, first = np.unique(copied, axis=0, return_index=True)
distances = cdist(different, different) + np.where(first[:, None] > first[None], 0, np.inf)
without_nearly = np.sort(first[distances.min(1) > 1e-5 * np.median(cdist(copied, copied))])
add("copies", {"rows": copied, "copied": np.array(len(copied) - len(different)), "kept": without_nearly})
add("copies", {"two_nn_of_kept": two_nn(copied[without_nearly])})

save_file(case, sys.argv[1])

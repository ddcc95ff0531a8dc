"""The numbers of memorisation of one stage by their definitions, in plain NumPy float64: loops over pairs of views, pairs
of images and pairs of scores; quantiles and tails by SciPy 1.17.1 (scipy.stats).

    python make.py case.safetensors        (numpy 2.4.6, scipy 1.17.1)

A case's tensors are named after it: paired/train and paired/unseen [q, n, d], paired/paired (1 where image i of both
sides goes together); distances paired/d_i_train, paired/d_i_unseen, paired/between_of, paired/zero_rows; numbers with
their intervals [value, low, high]: paired/membership, paired/memorisation_gap and so on; paired/hits_train and
paired/hits_unseen of cases with as many images on both sides; paired/true_positives with the false positives allowed in
front. paired/control is another stage's views of the same images [2, q, n, d], paired/above_control the difference of
the areas. family/terms [cells, n] are terms whose means have errors, family/critical how many standard errors hold
them together, by 2,000,000 draws.
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from scipy import stats

Z = stats.norm.ppf(0.975)


def unit_views(train, unseen):
    q = len(train)
    images = [side[:, i] for side in (train, unseen) for i in range(side.shape[1])]
    centre = sum(image.sum(0) / q for image in images) / len(images)
    units, zeros = [], []
    for side in (train, unseen):
        rows = np.zeros_like(side)
        count = 0
        for a in range(q):
            for i in range(side.shape[1]):
                row = side[a, i] - centre
                if np.linalg.norm(row) <= 1e-6 * np.linalg.norm(side[a, i]):
                    count += 1
                else:
                    rows[a, i] = row / np.linalg.norm(row)
        units.append(rows)
        zeros.append(count)
    return units, np.array(zeros)


def view_distances(units):
    q, n, _ = units.shape
    pairs = [(a, b) for a in range(q) for b in range(a)]
    return np.array([np.mean([np.sum((units[a, i] - units[b, i]) ** 2) for a, b in pairs]) for i in range(n)])


def between_images(units):
    q, n, _ = units.shape
    apart = np.zeros((n, n))
    for a in range(q):
        for b in range(q):
            apart += np.sum((units[a][:, None] - units[b][None]) ** 2, axis=2) / q**2
    return (apart.sum(1) - apart.diagonal()) / (n - 1)


def hits(units):
    q, n, _ = units.shape
    found = np.zeros(n)
    for a in range(q):
        for b in range(q):
            if a != b:
                cosines = units[a] @ units[b].T
                for i in range(n):
                    found[i] += cosines[i, i] > np.delete(cosines[i], i).max() + 1e-12
    return found / (q * (q - 1))


def combined(terms_train, terms_unseen, paired):
    """Standard error of the sum of the two means, and its degrees of freedom: infinite where there is no error."""
    n1, n2 = len(terms_train), len(terms_unseen)
    if paired:
        return np.sqrt(np.var(terms_train + terms_unseen, ddof=1) / n1), n1 - 1
    a, b = np.var(terms_train, ddof=1) / n1, np.var(terms_unseen, ddof=1) / n2
    if a + b == 0:
        return 0.0, np.inf
    return np.sqrt(a + b), (a + b) ** 2 / (a**2 / (n1 - 1) + b**2 / (n2 - 1))


def around(value, error, freedom, least=-np.inf, most=np.inf):
    width = stats.t.ppf(0.975, freedom) * error
    return np.array([value, max(value - width, least), min(value + width, most)])


def placements(near, far):
    above = (near[:, None] > far[None]) + 0.5 * (near[:, None] == far[None])
    return above.mean(1), above.mean(0)


def logit(p):
    return np.log(p / (1 - p))


def area(v10, v01, paired, error, t):
    """The area with an end `t` standard errors away on the logit scale, towards chance a little more."""
    n1, n2, auc = len(v10), len(v01), v10.mean()
    cut = 1 / (2 * n1 * n2)
    p = min(max(auc, cut), 1 - cut)
    more = (2 * auc - 1) ** 2 / n1**2 if paired else (auc - 0.5) ** 2 * (1 / n1**2 + 1 / n2**2)
    slope = 1 / (p * (1 - p))
    plain, wide = t * slope * error, t * slope * np.sqrt(error**2 + more)
    expit = lambda x: 1 / (1 + np.exp(-x))
    few = min(n1, n2)
    apart = 0.025 ** (1 / few)
    if auc >= 0.5:
        low, high = expit(logit(p) - wide), expit(logit(p) + plain)
        low = max(low, apart) if 1 - auc < 1 / few else low
    else:
        low, high = expit(logit(p) - plain), expit(logit(p) + wide)
        high = min(high, 1 - apart) if auc < 1 / few else high
    return np.array([auc, min(low, auc), max(high, auc)])


def membership(near, far, paired):
    v10, v01 = placements(near, far)
    error, freedom = combined(v10, v01, paired)
    return area(v10, v01, paired, error, stats.t.ppf(0.975, freedom))


def above_control(cell, control, paired):
    (a10, a01), (b10, b01) = placements(*cell), placements(*control)
    both, freedom = combined(a10 - b10, a01 - b01, paired)
    t = stats.t.ppf(0.975, freedom)
    ea, eb = combined(a10, a01, paired)[0], combined(b10, b01, paired)[0]
    r = (ea**2 + eb**2 - both**2) / (2 * ea * eb)
    a, b = area(a10, a01, paired, ea, t), area(b10, b01, paired, eb, t)
    value = a[0] - b[0]
    root = lambda x, y: np.sqrt(x * x + y * y - 2 * r * x * y)
    return np.array([value, value - root(a[0] - a[1], b[2] - b[0]), value + root(a[2] - a[0], b[0] - b[1])])


def true_positives(near, far):
    n1, n2 = len(near), len(far)
    if n2 < 100:
        return np.array([np.nan, 100 - n2, np.nan, np.nan])
    allowed = 0.01 if n2 >= 1000 else 0.1
    order = np.sort(far)[::-1]
    # Share above the threshold that k non-members reach.
    share = lambda k: np.mean(near > order[k - 1]) if k > 0 else 0.0
    rate = share(int(allowed * n2) + 1)
    ks = np.arange(1, n2 + 1)
    # The false positives above the k-th highest score follow a beta distribution.
    strict = max([0] + [int(k) for k in ks if stats.beta.sf(allowed, k, n2 - k + 1) <= 0.025])
    loose = min([n2] + [int(k) for k in ks if stats.beta.cdf(allowed, k, n2 - k + 1) <= 0.025])
    strict, loose = min(strict, int(allowed * n2) - 1), max(loose, int(allowed * n2) + 1)
    middle = (rate + Z**2 / (2 * n1)) / (1 + Z**2 / n1)
    width = Z / (1 + Z**2 / n1) * np.sqrt(rate * (1 - rate) / n1 + Z**2 / (4 * n1**2))
    low = rate - np.hypot(rate - (middle - width), rate - share(strict))
    high = rate + np.hypot(middle + width - rate, share(loose) - rate)
    return np.array([allowed, rate, max(low, 0), min(high, 1)])


rng = np.random.default_rng(17)
case = {}


def side(q, n, d, noise):
    places = rng.standard_normal((n, d)) * np.exp(0.3 * rng.standard_normal((n, 1)))
    return (places + noise * rng.standard_t(4, (q, n, d)) + np.linspace(-1, 3, d)).round(4)


def add(name, train, unseen, paired, control=None):
    (u, v), zeros = unit_views(train, unseen)
    d1, d2, b = view_distances(u), view_distances(v), between_images(v)
    gap = d2.mean() - d1.mean()
    relative = (-d1 / b.mean(), d2 / b.mean() - 2 * gap / b.mean() ** 2 * b)
    values = {
        "train": train,
        "unseen": unseen,
        "paired": np.array([float(paired)]),
        "d_i_train": d1,
        "d_i_unseen": d2,
        "between_of": b,
        "zero_rows": zeros.astype(float),
        "membership": membership(-d1, -d2, paired),
        "true_positives": true_positives(-d1, -d2),
        "memorisation_gap": around(gap, *combined(-d1, d2, paired)),
        "relative_gap": around(gap / b.mean(), *combined(*relative, paired)),
        "d_train": around(d1.mean(), np.std(d1, ddof=1) / np.sqrt(len(d1)), len(d1) - 1, 0, 4),
        "d_unseen": around(d2.mean(), np.std(d2, ddof=1) / np.sqrt(len(d2)), len(d2) - 1, 0, 4),
        "d_between": around(b.mean(), 2 * np.std(b, ddof=1) / np.sqrt(len(b)), len(b) - 1, 0, 4),
    }
    if len(d1) == len(d2):
        h1, h2 = hits(u), hits(v)
        error, freedom = combined(h1, -h2, paired)
        found = around(h1.mean() - h2.mean(), error, freedom)
        width = max(found[2] - found[0], 1 - 0.025 ** (1 / len(h1)))
        gap = found[0]
        values["retrieval_gap"] = np.array([gap, max(gap - width, -1), min(gap + width, 1)])
        values.update({"hits_train": h1, "hits_unseen": h2})
    if control is not None:
        c, _ = unit_views(*control)
        pairs = [(-d1, -d2), tuple(-view_distances(units) for units in c)]
        values["control"] = np.array(control)
        values["above_control"] = above_control(*pairs, paired)
    case.update({f"{name}/{key}": np.ascontiguousarray(value, dtype=np.float64) for key, value in values.items()})


train, unseen = side(2, 60, 6, 0.3), side(2, 60, 6, 0.6)
# A view that is the mean of all: a row of zeros once centred.
others = train.sum((0, 1)) + unseen.sum((0, 1)) - unseen[1, 7]
unseen[1, 7] = others / (2 * 120 - 1)
control = [(0.5 * views + side(2, 60, 6, 0.5)).round(4) for views in (train, unseen)]
add("paired", train, unseen, True, control)
add("independent", train, unseen, False, control)
add("five_views", side(5, 55, 9, 0.5), side(5, 55, 9, 0.55), True)
add("uneven", side(5, 40, 5, 0.4), side(5, 130, 5, 0.6), False)
add("many", side(2, 300, 3, 0.15), side(2, 1100, 3, 0.4), False)
add("apart", side(2, 50, 12, 0.01), side(2, 50, 12, 1.0), True)
add("backwards", side(2, 80, 6, 0.7), side(2, 80, 6, 0.3), False)

terms = rng.standard_normal((9, 40)) + 1.5 * rng.standard_normal((1, 40)) * np.linspace(0, 1, 9)[:, None]
largest = np.zeros(2_000_000)
root = np.linalg.cholesky(np.corrcoef(terms))
for block in np.array_split(np.arange(len(largest)), 20):
    largest[block] = np.abs(root @ rng.standard_normal((9, len(block)))).max(0)
normal = min(np.quantile(largest, 0.95), stats.norm.ppf(1 - 0.025 / 9))
case["family/terms"] = terms
case["family/critical"] = np.array([stats.t.isf(stats.norm.sf(normal), 39)])

save_file(case, sys.argv[1])

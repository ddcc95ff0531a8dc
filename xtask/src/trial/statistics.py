"""Golden values of statistics.rs: SciPy's paired t test. `python statistics.py > statistics.golden`."""

import numpy as np
from scipy.stats import ttest_rel

rng = np.random.default_rng(0)
print("[")
for pairs in [2, 3, 4, 5, 8, 11]:
    a, b = rng.normal(0.3, 1, pairs), rng.normal(0, 0.2, pairs)
    test = ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    d = ", ".join(repr(float(x)) for x in a - b)
    print(f"    (&[{d}][..], {float((a - b).mean())!r}, {float((high - low) / 2)!r}, {float(test.pvalue)!r}),")
print("]")

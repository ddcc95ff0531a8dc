"""Compares two safetensors files, the committed one and a new one: exit 0 if they agree, 1 with the reasons if not.

Floats may differ by rounding, relative to the largest value of their tensor; everything else must be equal.
"""

import sys

import numpy as np
from safetensors.numpy import load_file

# On another CPU an iterative solver (L-BFGS) ends 1e-9 elsewhere, and so does what is ill-conditioned.
TOLERANCE = {"float64": 1e-8, "float32": 1e-6}
old, new = map(load_file, sys.argv[1:3])
faults = [f"{name}: only in the committed file" for name in sorted(old.keys() - new.keys())]
faults += [f"{name}: only in the new file" for name in sorted(new.keys() - old.keys())]
for name in sorted(old.keys() & new.keys()):
    a, b = old[name], new[name]
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        faults.append(f"{name}: {a.dtype} {list(a.shape)} against {b.dtype} {list(b.shape)}")
    elif not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        tolerance = TOLERANCE.get(str(a.dtype), 0.0)
        a, b = a.astype(np.float64), b.astype(np.float64)
        error = np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)
        if not error <= tolerance:
            faults.append(f"{name}: differs by {error:.1e} of its largest value, {tolerance:.0e} allowed")
print("\n".join(faults))
sys.exit(bool(faults))

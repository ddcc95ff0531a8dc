"""The linear probe against scikit-learn (1.9.1): LogisticRegression(C=1, max_iter=1000) after StandardScaler.

https://github.com/scikit-learn/scikit-learn/blob/1.9.1/sklearn/linear_model/_logistic.py
Features: ReLU of a random projection of scikit-learn's own handwritten digits, so classes overlap as real ones do; one
column is constant and the scales of the others span three orders. `exact.*` is converged to 1e-9, `default.*` has the
default tolerance of 1e-4, `binary.*` has two classes (digits below five, and the others).
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)
digits = load_digits()
order = rng.permutation(len(digits.target))
features = np.maximum(digits.data @ rng.normal(size=(64, 24)) / 8 + 4 * rng.normal(size=(len(order), 24)), 0)
features *= np.geomspace(0.03, 30, 24)
features[:, 5] = 0.7
features, labels = features[order].astype(np.float32), digits.target[order].astype(np.int64)
split = 1200
train, test = slice(0, split), slice(split, None)
scaler = StandardScaler().fit(features[train].astype(np.float64))
x_train, x_test = (scaler.transform(features[side].astype(np.float64)) for side in (train, test))


def fit(name, labels, tol):
    model = LogisticRegression(C=1.0, max_iter=1000 if tol == 1e-4 else 100000, tol=tol).fit(x_train, labels[train])
    loss = log_loss(labels[train], model.predict_proba(x_train), labels=model.classes_)
    return {
        f"{name}.weight": model.coef_,
        f"{name}.bias": model.intercept_,
        f"{name}.probabilities": model.predict_proba(x_test)[:100],
        f"{name}.objective": np.array(loss + (model.coef_**2).sum() / (2 * split)),
        f"{name}.train_accuracy": np.array(model.score(x_train, labels[train])),
        f"{name}.test_accuracy": np.array(model.score(x_test, labels[test])),
    }


case = {"train": features[train], "test": features[test], "labels": labels}
case |= fit("default", labels, 1e-4) | fit("exact", labels, 1e-9) | fit("binary", (labels >= 5).astype(np.int64), 1e-9)
case |= {"scaler.mean": scaler.mean_, "scaler.scale": scaler.scale_}
save_file({name: np.ascontiguousarray(value) for name, value in case.items()}, sys.argv[1])
for name in ("default", "exact", "binary"):
    print(name, *(float(case[f"{name}.{key}"]) for key in ("objective", "train_accuracy", "test_accuracy")))

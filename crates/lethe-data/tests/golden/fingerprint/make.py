"""Golden case of lethe_data::fingerprint, with hashlib, NumPy and SciPy in float64.

The hash has the signs of the low cosines of the luminance: Zauner, Implementation and Benchmarking of Perceptual Image
Hash Functions, 2010, 3.2.1, without its median. Thumbnails are means over areas, by the integral of the pixels.

    python make.py case.safetensors

`NAME` [h, w, 3] bytes; `NAME.digest` [32], `NAME.thumbnail` [16, 16, 3] rounded, `NAME.hash` [63] 0 or 1, in the order
of the bits from bit 1 on; `A B` [3]: bits that differ, root mean square difference, correlation of what is fine.
"""

import hashlib
import struct
import sys

import numpy as np
from safetensors.numpy import save_file
from scipy.fft import dctn

SIDE = 16
rng = np.random.default_rng(0)


def picture(height, width):
    y, x = np.mgrid[0:height, 0:width]
    def wave():
        right, down = x * rng.uniform(2, 20) / width, y * rng.uniform(2, 20) / height
        return rng.uniform(20, 60) * np.sin(rng.uniform(0, 6) + right + down)
    waves = np.stack([sum(wave() for _ in range(4)) for _ in range(3)], -1)
    return (127 + waves + rng.normal(0, 10, (height, width, 3))).clip(0, 255).round().astype(np.uint8)


def mean_along(axis, picture):
    """Means of 16 equal parts: differences of the integral, which is linear within a pixel."""
    length = picture.shape[axis]
    integral = np.cumsum(np.insert(picture, 0, 0, axis), axis)
    bounds = np.linspace(0, length, SIDE + 1)
    at = np.apply_along_axis(lambda line: np.interp(bounds, np.arange(length + 1), line), axis, integral)
    return np.diff(at, axis=axis) * SIDE / length


def fine(thumbnail):
    waves = dctn(thumbnail, axes=(0, 1), norm="ortho")
    waves[:2, :2] = 0
    return waves  # the transform is orthonormal


case, kept = {}, {}
a = picture(32, 32)
pictures = {"a": a, "noisy": (a + rng.normal(0, 8, a.shape)).clip(0, 255).round().astype(np.uint8),
            "enlarged": a.repeat(3, 0).repeat(3, 1), "other": picture(32, 32), "wide": picture(23, 61),
            "small": picture(7, 5), "flat": np.full((20, 20, 3), 77, np.uint8)}
for name, image in pictures.items():
    header = struct.pack("<II", image.shape[1], image.shape[0])
    exact = mean_along(1, mean_along(0, image.astype(np.float64)))
    thumbnail = np.floor(exact + 0.5 + 1e-9)
    light = dctn(thumbnail @ [0.299, 0.587, 0.114], norm="ortho")[:8, :8].ravel()[1:]
    assert name == "flat" or np.abs(light).min() > 1e-9, "a sign that rounding decides"
    case[name] = image
    case[name + ".digest"] = np.frombuffer(hashlib.sha256(header + image.tobytes()).digest(), np.uint8)
    case[name + ".thumbnail"] = np.ascontiguousarray(thumbnail, np.uint8)
    case[name + ".hash"] = (light > 0).astype(np.int64)
    kept[name] = thumbnail, light > 0
for first in kept:
    for second in kept:
        (x, bits_x), (y, bits_y) = kept[first], kept[second]
        if "flat" in (first, second):
            continue
        f, g = fine(x).ravel(), fine(y).ravel()
        correlation = f @ g / np.linalg.norm(f) / np.linalg.norm(g)
        numbers = [(bits_x != bits_y).sum(), np.sqrt(np.mean((x - y) ** 2)), correlation]
        case[f"{first} {second}"] = np.array(numbers, np.float64)
save_file(case, sys.argv[1])

"""Golden case of lethe::data::corruption: CIFAR-10-C's formulas with NumPy, SciPy and Pillow, given the same random numbers.

Reference: https://github.com/hendrycks/robustness/blob/ca360085d57889288c4143fddd8a707bbcae01bd/ImageNet-C/create_c/make_cifar_c.py
(gaussian_noise, shot_noise, defocus_blur, brightness, contrast, pixelate), with scipy.ndimage.correlate(mode="mirror") in
place of cv2.filter2D (BORDER_REFLECT_101) and colorsys in place of skimage's HSV.

    python make.py case.safetensors

`image` [h, w, 3] bytes; `NAME` [5, h, w, 3] bytes, one a severity; `gaussian-noise.drawn` [h, w, 3] standard normal,
`shot-noise.drawn` [5, h, w, 3] counts, `shot-noise.mean` the means they were drawn with.
"""

import colorsys
import sys

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from scipy.ndimage import correlate

rng = np.random.default_rng(0)
y, x = np.mgrid[0:32, 0:32]
image = np.stack([127 + 120 * np.sin(x / (3 + c) + y / (5 - c) + c) for c in range(3)], -1)
image += rng.normal(0, 20, image.shape)
image[16:, :10] = [250, 10, 30]
image[:2, :4] = [[0, 0, 0], [255, 255, 255], [77, 77, 77], [254, 255, 1]]
image = image.clip(0, 255).round().astype(np.uint8)
unit = image / 255.0


def disk(radius, alias_blur):
    axis = np.arange(-8, 9)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(float)
    bell = np.exp(-0.5 * (np.arange(-1, 2) / alias_blur) ** 2)
    bell /= bell.sum()
    return correlate(inside / inside.sum(), np.outer(bell, bell), mode="mirror")


def hsv(pixel, more):
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1))


def to_bytes(x):
    # Where a value lies on a whole number, rounding would decide which of two bytes it becomes.
    return np.uint8(x + 1e-9)


def all_of(function, constants):
    return np.stack([to_bytes(function(c)) for c in constants])


normal = rng.normal(size=image.shape)
photons = [500, 250, 100, 75, 50]
counts = np.stack([rng.poisson(unit * c) for c in photons]).astype(float)
means = unit.mean(axis=(0, 1), keepdims=True)
blurs = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)]
blur = lambda c: np.stack([correlate(unit[:, :, d], disk(*c), mode="mirror") for d in range(3)], -1)
picture = Image.fromarray(image)
fewer = lambda c: (int(32 * c), int(32 * c))
case = {
    "image": image,
    "gaussian-noise.drawn": normal,
    "gaussian-noise": all_of(lambda c: np.clip(unit + c * normal, 0, 1) * 255, [0.04, 0.06, 0.08, 0.09, 0.10]),
    "shot-noise.drawn": counts,
    "shot-noise.mean": np.stack([unit * c for c in photons]),
    "shot-noise": np.stack([to_bytes(np.clip(k / c, 0, 1) * 255) for k, c in zip(counts, photons)]),
    "defocus-blur": all_of(lambda c: np.clip(blur(c), 0, 1) * 255, blurs),
    "brightness": all_of(
        lambda c: np.clip(np.apply_along_axis(hsv, 2, unit, c), 0, 1) * 255, [0.05, 0.1, 0.15, 0.2, 0.3]
    ),
    "contrast": all_of(lambda c: np.clip((unit - means) * c + means, 0, 1) * 255, [0.75, 0.5, 0.4, 0.3, 0.15]),
    "pixelate": all_of(
        lambda c: np.array(picture.resize(fewer(c), Image.BOX).resize((32, 32), Image.BOX)),
        [0.95, 0.9, 0.85, 0.75, 0.65],
    ),
}
save_file({name: np.ascontiguousarray(value) for name, value in case.items()}, sys.argv[1])

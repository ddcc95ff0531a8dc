"""Golden case of lethe::views: every operation against torchvision.transforms.v2.functional on float64 tensors,
given the same drawn parameters; and a decoded JPEG against Pillow.

Reference: torchvision 0.26.0, https://github.com/pytorch/vision/tree/v0.26.0/torchvision/transforms/v2/functional
(_geometry.py: resized_crop_image, resize_image, center_crop_image, horizontal_flip_image; _color.py: adjust_*_image,
rgb_to_grayscale_image, solarize_image; _misc.py: gaussian_blur_image, normalize_image); torch 2.11.0; Pillow.

    python make.py case.safetensors

Tensors are [h, w, 3] as lethe has them. `*.image` are bytes, outputs float64. Parameters stand in `*.parameters`.
resized_crop is clamped to [0, 1], as torchvision clamps byte images: bicubic overshoots.
"""

import io
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

rng = np.random.default_rng(0)
case = {}


def picture(height, width):
    """Smooth colours, an edge, noise; saturated, grey, black and white pixels."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [127 + 120 * np.sin(x / (3 + c) + y / (5 - c) + c) for c in range(3)]
    image = np.stack(channels, -1) + rng.normal(0, 20, (height, width, 3))
    image[height // 2 :, : width // 3] = [250, 10, 30]
    image[:3, :3] = [[0, 0, 0], [255, 255, 255], [77, 77, 77]]
    return torch.from_numpy(image.clip(0, 255).round().astype(np.uint8))


def planes(image):
    return (image.to(torch.float64) / 255).permute(2, 0, 1)


def rows(planes):
    return planes.permute(1, 2, 0).to(torch.float64).contiguous()


def crop(image, top, left, height, width, size):
    return F.resized_crop(
        planes(image), top, left, height, width, size, InterpolationMode.BICUBIC, antialias=True
    ).clamp(0, 1)


small, wide = picture(15, 15), picture(41, 67)
case["small.image"], case["wide.image"] = small, wide

# image: 0 small, 1 wide; top, left, height, width, size
crops = [
    (0, 0, 0, 15, 15, [15, 15]),  # the whole: nothing changes
    (0, 5, 3, 9, 11, [24, 24]),  # larger
    (1, 0, 2, 30, 29, [20, 20]),  # smaller
    (0, 7, 7, 1, 1, [8, 8]),  # one pixel
    (1, 3, 10, 37, 50, [16, 16]),  # smaller, other ratio
    (1, 0, 0, 41, 67, [5, 7]),  # far smaller
    (1, 20, 30, 12, 9, [15, 15]),
]
for i, (which, top, left, height, width, size) in enumerate(crops):
    case[f"crop.{i}.parameters"] = torch.tensor([which, top, left, height, width, *size])
    case[f"crop.{i}.output"] = rows(crop([small, wide][which], top, left, height, width, size))

# Evaluation: the shorter side resized, the middle.
for name, image, side in [("small", small, 15), ("wide", wide, 24), ("wide_up", wide, 40)]:
    resized = F.resize(planes(image), [side], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    case[f"centre.{name}.output"] = rows(F.center_crop(resized, [side, side]))

tensor = planes(small)
factors = {
    "brightness": (F.adjust_brightness, [0.2, 0.83, 1.0, 1.8]),
    "contrast": (F.adjust_contrast, [0.2, 0.83, 1.0, 1.8]),
    "saturation": (F.adjust_saturation, [0.0, 0.2, 0.83, 1.8]),
    "hue": (F.adjust_hue, [-0.5, -0.2, -0.013, 0.1, 0.5]),
    "solarize": (F.solarize, [0.0, 128 / 255, 0.9]),
}
for name, (function, values) in factors.items():
    case[f"{name}.parameters"] = torch.tensor(values, dtype=torch.float64)
    case[f"{name}.output"] = torch.stack([rows(function(tensor, value)) for value in values])

# All four in another order, as ColorJitter applies them.
jittered = F.adjust_brightness(F.adjust_contrast(F.adjust_hue(F.adjust_saturation(tensor, 1.5), 0.13), 0.6), 1.2)
case["jitter.output"] = rows(jittered)

case["grayscale.output"] = rows(F.rgb_to_grayscale(tensor, num_output_channels=3))
case["flip.output"] = rows(F.horizontal_flip(tensor))
mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
case["normalize.output"] = rows(F.normalize(tensor, mean, std))

sigmas = [0.1, 0.5, 1.3, 2.0]
case["blur.parameters"] = torch.tensor(sigmas, dtype=torch.float64)
case["blur.output"] = torch.stack(
    [rows(F.gaussian_blur(tensor, 2 * int(np.ceil(3 * sigma)) + 1, sigma)) for sigma in sigmas]
)

# JPEG as cameras write it (4:2:0), as the highest quality has it (4:4:4), and grey.
photo = Image.fromarray(np.asarray(wide))
for name, image, options in [
    ("420", photo, dict(quality=90, subsampling=2)),
    ("444", photo, dict(quality=95, subsampling=0)),
    ("grey", photo.convert("L"), dict(quality=90)),
]:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    case[f"jpeg.{name}.file"] = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    decoded = np.array(Image.open(file).convert("RGB"))
    case[f"jpeg.{name}.output"] = torch.from_numpy(decoded)

save_file({name: value.contiguous() for name, value in case.items()}, sys.argv[1])

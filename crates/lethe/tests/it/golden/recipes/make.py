"""Golden case of lethe::views::RECIPES: what each view of every recipe does to a picture, as means over many draws of the
published pipelines, built from torchvision's transforms.

References: solo-learn, https://github.com/vturrisi/solo-learn/tree/9187ea3/scripts/pretrain (cifar/augmentations/*.yaml,
cifar/wmse.yaml, imagenet-100/augmentations/*.yaml; small images and those of 224 pixels); for larger images SwAV,
https://github.com/facebookresearch/swav/blob/06b1b7cbaf6ba2a792300d79c7299db98b93b7f9/src/multicropdataset.py with
scripts/swav_800ep_pretrain.sh, DINO, https://github.com/facebookresearch/dino/blob/7c446df5b9f45747937fb0d72314eb9f7b66930a/main_dino.py,
MAE, https://github.com/facebookresearch/mae/blob/efb2a8062c206524e35e47d04501ed4f544c0ae8/main_pretrain.py; for all sizes EMP-SSL,
https://github.com/tsb0601/EMP-SSL/tree/0b79c5add1e501e690667efdc12a4ccd7033f8eb/dataset; torchvision 0.26.0.

    python make.py case.safetensors

`RECIPE.SIZE.sizes` are the pixels of the views, `RECIPE.SIZE.VIEW.mean` and `.error` the means and their standard errors of
statistics of the view: mean value, standard deviation of the luma, colourfulness, sharpness, share of pixels brighter than
0.7. Blur has torchvision's kernel of three standard deviations.
"""

import math
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
DRAWS = {32: 3000, 80: 1000, 64: 1000}  # one stream for all: new sizes go last
case = {}


def picture(side):
    """Blobs of saturated colours, a bright part, noise."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[0:side, 0:side] * 32 / side
    image = np.stack([127 + 110 * np.sin(x / (3 + c) + y / (5 - c) + c) for c in range(3)], -1)
    image[: side // 3] = image[: side // 3] * 0.3 + 175
    return torch.from_numpy((image + rng.normal(0, 15, image.shape)).clip(0, 255).round().astype(np.uint8))


class Blur(torch.nn.Module):
    def forward(self, image):
        sigma = float(torch.empty(1).uniform_(0.1, 2.0))
        radius = min(math.ceil(3 * sigma), image.shape[-1] - 1)
        return F.gaussian_blur(image, kernel_size=[2 * radius + 1] * 2, sigma=[sigma] * 2)


def pipeline(size, scale, jitter=None, blur=0.0, solarize=0.0, ratio=(3 / 4, 4 / 3)):
    steps = [v2.RandomResizedCrop(size, scale, ratio, InterpolationMode.BICUBIC, antialias=True), v2.ToDtype(torch.float32, scale=True)]
    if jitter:
        steps += [v2.RandomApply([v2.ColorJitter(*jitter)], p=0.8), v2.RandomGrayscale(p=0.2)]
        steps += [v2.RandomApply([Blur()], p=blur), v2.RandomSolarize(128 / 255, p=solarize)]
    return size, v2.Compose(steps + [v2.RandomHorizontalFlip(p=0.5)])


STRONG, MEDIUM, WEAK = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)


def recipes(size):
    small = size <= 64
    local = round(size * 96 / 224)
    wide = (0.08, 1.0)
    simclr = [pipeline(size, wide, STRONG, 0.5)] * 2
    asymmetric = lambda scale: [
        pipeline(size, scale, WEAK, 0.0 if small else 1.0),
        pipeline(size, scale, WEAK, 0.0 if small else 0.1, 0.2),
    ]
    patch = pipeline(size, (0.25, 0.25), (0.4, 0.4, 0.4, 0.2), 0.1, 0.1, (1.0, 1.0) if small else (3 / 4, 4 / 3))
    return {
        "simclr": simclr,
        "simclr-weak": [pipeline(size, wide, MEDIUM, 0.5)] * 2,
        "byol": asymmetric(wide),
        "vicreg": [pipeline(size, (0.2, 1.0), WEAK, 0.0 if small else 0.5, 0.1)] * 2,
        "ressl": [pipeline(size, wide, WEAK, 0.5), pipeline(size, wide)],
        "w-mse": [pipeline(size, (0.2, 1.0), STRONG, 0.0 if small else 0.2)] * 2,
        "swav": simclr if small else [pipeline(size, (0.14, 1.0), STRONG, 0.5)] * 2 + [pipeline(local, (0.05, 0.14), STRONG, 0.5)] * 6,
        "dino": asymmetric(wide) if small else asymmetric((0.4, 1.0)) + [pipeline(local, (0.05, 0.4), WEAK, 0.5)] * 8,
        "emp-ssl": [patch] * 20,
        "mae": [pipeline(size, wide if small else (0.2, 1.0))],
    }


def statistics(image):
    luma = (image * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    colour = (image[0] - image[1]).abs().mean() + (image[1] - image[2]).abs().mean()
    sharpness = luma.diff(dim=1).abs().mean() + luma.diff(dim=0).abs().mean()
    return torch.stack([image.mean(), luma.std(unbiased=False), colour, sharpness, (image > 0.7).float().mean()])


for size, draws in DRAWS.items():
    image = picture(size)
    case[f"{size}.image"] = image
    planes = image.permute(2, 0, 1).contiguous()
    known = {}
    for name, views in recipes(size).items():
        case[f"{name}.{size}.sizes"] = torch.tensor([view[0] for view in views])
        for i, (_, transform) in enumerate(views):
            if id(transform) not in known:
                rows = torch.stack([statistics(transform(planes)) for _ in range(draws)]).double()
                known[id(transform)] = rows.mean(0), rows.std(0) / math.sqrt(draws)
            mean, error = known[id(transform)]
            case[f"{name}.{size}.{i}.mean"], case[f"{name}.{size}.{i}.error"] = mean.clone(), error.clone()

save_file(case, sys.argv[1])

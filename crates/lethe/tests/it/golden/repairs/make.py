"""Golden case of the rivals of UMM: averaging and distillation. PyTorch 2.11, torchvision 0.26, float64.

    python make.py case.safetensors

`average`: torch.optim.swa_utils.AveragedModel and update_bn
(https://github.com/pytorch/pytorch/blob/v2.11.0/torch/optim/swa_utils.py) over three late parts, the early part of the
first before them. `distill`: torch.nn.functional.normalize over the channels of every place, on the networks of
../undo/make.py; the student in training mode, the teacher in evaluation mode.
"""

import importlib.util
import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import AveragedModel, update_bn

spec = importlib.util.spec_from_file_location("undo", pathlib.Path(__file__).parent.parent / "undo" / "make.py")
undo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(undo)

WIDTH, SIDE, N, BATCHES, WEIGHT = 2, 8, 6, 2, 0.7


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.early, self.late = undo.Early(WIDTH), undo.Late(WIDTH)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.2, 0.2)
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 1.5)
        rounded = {k: v.float() if v.is_floating_point() else v for k, v in self.state_dict().items()}
        self.load_state_dict(rounded)  # to values that float32 holds too, as which they are stored

    def early_maps(self, x):
        e = self.early
        stem = torch.relu(e.bn1(e.conv1(x)))
        one = e.layer1(stem)
        return [stem, one, e.layer2(one)]

    def late_maps(self, z):
        three = self.late.layer3(z)
        return [three, self.late.layer4(three)]

    def project(self, last):
        return self.late.projector(last.mean(dim=(2, 3)))


def distance(s, t):
    return (normalize(s, dim=1, eps=1e-6) - normalize(t, dim=1, eps=1e-6)).pow(2).sum(1).mean()


def mean_distance(students, teachers):
    return torch.stack([distance(s, t) for s, t in zip(students, teachers)]).mean()


def distilled_late(student, teacher, images):
    student.early.eval()
    student.late.train()
    with torch.no_grad():
        targets = [m for x in images for m in teacher.late_maps(teacher.early(x))]
    maps = [student.late_maps(student.early(x).detach()) for x in images]
    ssl = undo.nt_xent(*[student.project(m[-1]) for m in maps])
    far = mean_distance([m for view in maps for m in view], targets)
    return ssl, far, undo.gradient(ssl + WEIGHT * far, student.late)


def distilled_early(student, teacher, images):
    student.train()
    with torch.no_grad():
        targets = [m for x in images for m in teacher.early_maps(x)]
    maps = [student.early_maps(x) for x in images]
    ssl = undo.nt_xent(*[student.project(student.late_maps(m[-1])[-1]) for m in maps])
    far = mean_distance([m for view in maps for m in view], targets)
    return ssl, far, undo.gradient(ssl + WEIGHT * far, student)


def main(path):
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    nets = [Whole() for _ in range(3)]
    tensors = {}
    for i, net in enumerate(nets):
        named = {**net.early.state_dict(), **net.late.state_dict()}
        tensors.update({f"weights{i}.{k}": v.float() if v.is_floating_point() else v.clone() for k, v in named.items()})
    images = torch.randn(BATCHES, 2, N, 3, SIDE, SIDE).float().double()
    tensors["images"] = images.float()
    tensors["weight"] = torch.tensor(WEIGHT)
    tensors["temperature"] = torch.tensor(undo.TEMPERATURE)

    teacher = nets[1].eval()
    for name, distilled in [("late", distilled_late), ("early", distilled_early)]:
        student = Whole()
        student.load_state_dict(nets[0].state_dict())
        ssl, far, gradient = distilled(student, teacher, images[0])
        tensors.update({f"{name}.ssl": ssl, f"{name}.distance": far, f"{name}.gradient": undo.sampled(gradient)})
        print(name, ssl.item(), far.item())

    averaged = AveragedModel(nets[0].late)
    for net in nets:
        averaged.update_parameters(net.late)
    nets[0].early.eval()
    with torch.no_grad():
        update_bn([nets[0].early(view) for batch in images for view in batch], averaged)
    late = averaged.module.state_dict()
    tensors["average.parameters"] = undo.sampled(averaged.module.parameters())
    tensors["average.statistics"] = undo.flat(v for k, v in late.items() if "running" in k)
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path)


if __name__ == "__main__":
    main(sys.argv[1])

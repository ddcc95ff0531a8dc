"""Checkpoints as the tools write them, small, and the tensors they hold under torchvision's names:
`make.py case.safetensors` writes those tensors, `--files` the checkpoints beside them too.

torch 2.11.0, torchvision 0.26.0, lightly 1.6.0 (real modules), pytorch-lightning 2.6.6 (real `save_checkpoint`).
The others are the dictionaries their scripts save:
  MoCo      https://github.com/facebookresearch/moco/blob/5a429c00bb6d4efdf511bf31b6f01e064bf929ab/main_moco.py#L305-L313
  SimSiam   https://github.com/facebookresearch/simsiam/blob/a7bc1772896d0dad0806c51f0bb6f3b16d290468/main_simsiam.py
  DINO      https://github.com/facebookresearch/dino/blob/7c446df5b9f45747937fb0d72314eb9f7b66930a/main_dino.py
  VICReg    https://github.com/facebookresearch/vicreg/blob/4e12602fd495af83efd1631fbe82523e6db092e0/main_vicreg.py
  solo-learn (main), Lightning's dictionary with `argparse.Namespace` hyper-parameters
"""

import argparse
import collections
import copy
import io
import json
import pathlib
import sys
import tempfile
import zipfile

import lightly
import pytorch_lightning
import torch
import torchvision
from lightly.models import ResNetGenerator
from lightly.models.modules import SimCLRProjectionHead
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

BLOCKS = {"resnet18": (BasicBlock, [2, 2, 2, 2]), "resnet34": (BasicBlock, [3, 4, 6, 3]), "resnet50": (Bottleneck, [3, 4, 6, 3])}


class Narrow(ResNet):
    """Torchvision's ResNet with another base width than 64."""

    def __init__(self, name, width, cifar=False):
        nn.Module.__init__(self)
        block, layers = BLOCKS[name]
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False) if cifar else nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        for i in range(4):
            layer = self._make_layer(block, width << i, layers[i], stride=1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear((width << 3) * block.expansion, 10)


def shaken(module, seed):
    """Every tensor another than its initial value, running statistics too; all bits of the mantissa used."""
    generator = torch.Generator().manual_seed(seed)
    for name, t in module.state_dict().items():
        if t.is_floating_point():
            noise = torch.randn(t.shape, generator=generator) * 0.1
            t.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise + (1.0 if t.dim() == 1 else 0.0))
        else:
            t.fill_(40 + seed)
    return module.eval()


def resnet(name="resnet18", width=1, cifar=False, seed=0):
    return shaken(Narrow(name, width, cifar), seed)


def prefixed(prefix, state):
    return {prefix + k: v for k, v in state.items()}


def without_fc(state):
    return {k: v for k, v in state.items() if not k.startswith("fc.")}


def mlp(*dims, seed=5):
    layers = []
    for i, (a, b) in enumerate(zip(dims, dims[1:])):
        layers += [nn.BatchNorm1d(a), nn.ReLU()] if i else []
        layers.append(nn.Linear(a, b))
    return shaken(nn.Sequential(*layers), seed)


class Lightly(pytorch_lightning.LightningModule):
    """https://docs.lightly.ai/self-supervised-learning/examples/simclr.html (PyTorch Lightning)."""

    def __init__(self, children, dim):
        super().__init__()
        self.backbone = nn.Sequential(*children)
        self.projection_head = SimCLRProjectionHead(dim, 6, 4)
        self.save_hyperparameters({"lr": 0.06, "name": "simclr"})

    def training_step(self, batch, _):
        return self.projection_head(self.backbone(batch[0]).flatten(start_dim=1)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.9)


def lightly_checkpoint(children, dim, path):
    module = Lightly(children, dim)
    module.projection_head.layers.load_state_dict(shaken(module.projection_head.layers, 5).state_dict())
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 3, 32, 32)), batch_size=4)
    trainer = pytorch_lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    before = {k: v.clone() for k, v in module.state_dict().items()}
    trainer.fit(module, data)
    module.load_state_dict(before)  # the step moved the running statistics
    trainer.save_checkpoint(path)
    return module


def momentum(module):
    """The state of an optimiser with one buffer a parameter, as a checkpoint holds it."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for p in module.parameters():
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer.state_dict()


def torchscript(path):
    """Without the debug entries, which hold the paths of this machine."""
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.zeros(1)), scripted)
    with zipfile.ZipFile(scripted) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            if not entry.endswith(".debug_pkl"):
                new.writestr(entry, old.read(entry))


@torch.no_grad()
def main(case, out):
    """The tensors to `case`, the checkpoints into the folder `out`."""
    narrow, other, wide, cifar = resnet(), resnet(seed=1), resnet(width=2), resnet(cifar=True, seed=2)
    state, moved = narrow.state_dict(), other.state_dict()

    # What the files hold, under torchvision's names.
    held = {"resnet18-w2": without_fc(wide.state_dict()), "resnet18-w1": without_fc(state), "cifar": without_fc(cifar.state_dict())}
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    features = {"images": images}
    padded = copy.deepcopy(cifar)
    padded.conv1.padding = (2, 2)  # https://github.com/vturrisi/solo-learn, solo/methods/base.py
    for name, network in [("imagenet", narrow), ("cifar", cifar), ("cifar-pad2", padded)]:
        network = copy.deepcopy(network)
        network.fc = nn.Identity()
        features[name] = network(images)
    held["features"] = features
    head = mlp(8, 6, 4)
    held["head"] = prefixed("projector.", head.state_dict())

    # Formats.
    save_file(without_fc(state), out / "resnet18-w1.safetensors")
    torch.save(wide.state_dict(), out / "plain.pth")
    torch.save(wide.state_dict(), out / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, out / "f16.pth")
    torch.save({k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}, out / "bf16.pth")
    torch.save({k: v.double() if v.is_floating_point() else v for k, v in state.items()}, out / "f64.pth")
    # Its name makes the first entry of the archive's directory as long as the records behind the last one, 76 bytes.
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, out / "simclr_r18_epoch_0199.pth")
    torch.save(narrow, out / "whole-module.pt")
    torch.save({k: v.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if v.dim() == 4 else v for k, v in state.items()}, out / "channels-last.pth")
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, out / "before-0.4.1.pth")

    # Tools.
    module = lightly_checkpoint(list(copy.deepcopy(narrow).children())[:-1], 8, out / "lightly.ckpt")
    held["lightly-head"] = prefixed("projector.", module.projection_head.layers.state_dict())
    children = dict(copy.deepcopy(cifar).named_children())
    children = [m for name, m in children.items() if name not in ("maxpool", "fc")]
    lightly_checkpoint(children, 8, out / "lightly-cifar.ckpt")
    own = shaken(ResNetGenerator("resnet-18", width=1 / 64), 4)
    held["lightly-resnet"] = {k.replace("shortcut", "downsample"): v.clone() for k, v in own.state_dict().items() if "linear" not in k}
    lightly_checkpoint(list(own.children())[:-1] + [nn.AdaptiveAvgPool2d(1)], 8, out / "lightly-resnet.ckpt")
    solo = {**prefixed("backbone.", without_fc(cifar.state_dict())), **prefixed("projector.", head.state_dict())}
    solo |= {"classifier.weight": torch.zeros(10, 8), "classifier.bias": torch.zeros(10)}
    solo |= prefixed("momentum_backbone.", without_fc(moved)) | {"queue": torch.zeros(2, 4)}
    hparams = argparse.Namespace(method="mocov2plus", backbone="resnet18", lr=0.3, devices=[0], kwargs={"cifar": True, "decay": None})
    torch.save(
        {
            "epoch": 999, "global_step": 195000, "pytorch-lightning_version": "1.6.4", "state_dict": collections.OrderedDict(solo),
            "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {}, "optimizer_states": [momentum(cifar)],
            "lr_schedulers": [{"base_lrs": [0.3], "last_epoch": 1000}], "hparams_name": "args", "hyper_parameters": hparams,
        },
        out / "solo-learn.ckpt",
    )
    moco = {"module.queue": torch.zeros(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    for name, weights in [("encoder_q", state), ("encoder_k", moved)]:
        moco |= prefixed(f"module.{name}.", without_fc(weights))
        moco |= prefixed(f"module.{name}.fc.", nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).state_dict())
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": moco, "optimizer": momentum(narrow)}, out / "moco.pth.tar")
    fc = nn.Sequential(nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8, affine=False))
    simsiam = prefixed("module.encoder.", without_fc(state)) | prefixed("module.encoder.fc.", fc.state_dict())
    simsiam |= prefixed("module.predictor.", mlp(8, 2, 8).state_dict())
    torch.save({"epoch": 100, "arch": "resnet50", "state_dict": simsiam, "optimizer": momentum(narrow)}, out / "simsiam.pth.tar")
    vicreg = prefixed("module.backbone.", without_fc(state)) | prefixed("module.projector.", head.state_dict())
    torch.save({"epoch": 1000, "model": vicreg, "optimizer": momentum(narrow)}, out / "vicreg.pth")
    dino = {name: {f"{wrap}backbone.{k}": v for k, v in without_fc(w).items()} for name, w, wrap in [("student", moved, "module."), ("teacher", state, "")]}
    for name in dino:
        dino[name] |= {"head.mlp.0.weight": torch.zeros(4, 8), "head.last_layer.weight_g": torch.ones(4, 1)}
    args = argparse.Namespace(arch="resnet50", out_dim=65536, data_path="/data")
    torch.save({**dino, "optimizer": momentum(narrow), "epoch": 300, "args": args, "fp16_scaler": None}, out / "dino.pth")

    # What must be refused.
    torch.save({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, out / "clash.pth")
    torch.save({"conv1.weight": torch.zeros(1), "layer4.0.conv1.weight": torch.empty(8, 4, 3, 3, device="meta")}, out / "meta.pth")
    torchscript(out / "torchscript.pt")
    torch.save(narrow.bn1.weight, out / "tensor.pt")
    torch.save([1, 2], out / "list.pt")
    torch.save({"conv1.weight": torch.zeros(1).expand(1 << 28)}, out / "expanded.pth")
    torch.save({"patch_embed.proj.weight": torch.zeros(2, 3, 4, 4), "blocks.0.attn.qkv.weight": torch.zeros(6, 2)}, out / "vit.pth")

    # Seeds for mutations: without checksums, so that a mutation reaches the unpickler.
    torch.serialization.set_crc32_options(False)
    few = {"epoch": 3, "state_dict": {"conv1.weight": torch.randn(2, 3, 3, 3), "bn1.weight": torch.ones(2).half(), "n": torch.tensor(5)}}
    torch.save({**few, "hparams": args, "list": [1, 2.5, None, "x", (True, b"y")]}, out / "seed.pth")
    torch.save(few, out / "seed-legacy.pth", _use_new_zipfile_serialization=False)
    save_file({"conv1.weight": torch.randn(2, 3, 3, 3), "bn1.weight": torch.ones(2).half(), "n": torch.tensor(5)}, out / "seed.safetensors", metadata={"a": "b"})
    torch.save(state, out / "seed-resnet.pth")

    # What `load_state_dict(strict=True)` asks of a full-width encoder.
    keys = {}
    for name in BLOCKS:
        network = torchvision.models.get_model(name, weights=None)
        network.fc = nn.Identity()
        keys[name] = [[k, list(v.shape)] for k, v in network.state_dict().items()]
    lines = ",\n".join(f'"{name}": {json.dumps(entries)}' for name, entries in keys.items())
    (out / "torchvision-keys.json").write_text("{" + lines + "}\n")
    save_file({f"{name}.{k}": v.contiguous() for name, tensors in held.items() for k, v in tensors.items()}, case)
    print(torch.__version__, torchvision.__version__, lightly.__version__, pytorch_lightning.__version__)


case = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
with tempfile.TemporaryDirectory() as scratch:
    main(case, case.parent if "--files" in sys.argv else pathlib.Path(scratch))

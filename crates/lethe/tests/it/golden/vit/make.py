"""timm 1.0's VisionTransformer in float64, cut small: the map and the pooled features of every stage, and the gradients of all
tensors; its positional embedding for other sizes of image; the names and shapes of its own sizes; and checkpoints with the
keys that timm, DINO, MAE and lightly give them. `make.py OUT` writes the numbers, `--files` the checkpoints beside them too.

  timm      https://github.com/huggingface/pytorch-image-models/blob/v1.0.20/timm/models/vision_transformer.py
  DINO      https://github.com/facebookresearch/dino/blob/7c446df5b9f45747937fb0d72314eb9f7b66930a/main_dino.py
  MAE       https://github.com/facebookresearch/mae/blob/efb2a8062c206524e35e47d04501ed4f544c0ae8/models_mae.py
  lightly   MaskedVisionTransformerTIMM of the installed package

The weights are formulas, the same in the test: no file holds them.
"""

import argparse
import json
import pathlib
import sys
import tempfile
from functools import partial

import timm
import torch
from lightly.models.modules import MaskedVisionTransformerTIMM
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

CASES = {
    "cls": dict(global_pool="token", fc_norm=False),
    "mean-scaled": dict(global_pool="avg", fc_norm=False, init_values=1e-5),
}


def formula(shape, seed):
    """Numbers between -1 and 1."""
    n = torch.Size(shape).numel()
    return torch.sin((torch.arange(n, dtype=torch.float64) + 1) * 0.7 + seed).reshape(shape)


def weights(state):
    """By the place of a tensor: gains near 1, biases near 0, matrices scaled by their inputs."""
    held = {}
    for seed, (name, t) in enumerate(state.items()):
        x = formula(t.shape, seed)
        if name.endswith((".gamma", "norm.weight", "norm1.weight", "norm2.weight")):
            x = 1 + 0.3 * x
        elif t.dim() in (2, 4):
            x = x / t[0].numel() ** 0.5
        else:
            x = 0.3 * x
        held[name] = x
    return held


def small(**settings):
    return VisionTransformer(img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=0, **settings).double()


def numbers():
    out = {}
    for case, settings in CASES.items():
        model = small(**settings)
        model.load_state_dict(weights(model.state_dict()))
        images = formula((2, 3, 16, 16), 0.5).requires_grad_()
        x = model._pos_embed(model.patch_embed(images))
        maps = {"patch": x}
        for i, block in enumerate(model.blocks, 1):
            x = block(x)
            maps[f"block{i}"] = model.norm(x) if i == len(model.blocks) else x
        assert torch.equal(maps["block2"], model.forward_features(images))
        for stage, x in maps.items():
            out[f"{case}/{stage}"] = x
        pooled = model(images)
        loss = (pooled * formula(pooled.shape, 3)).sum() + (maps["block1"] * formula(maps["block1"].shape, 4)).sum()
        loss.backward()
        out[f"{case}/pooled"] = pooled
        out[f"{case}/gradient/images"] = images.grad
        out |= {f"{case}/gradient/{name}": p.grad for name, p in model.named_parameters()}
    # Other sizes than the 16 pixels of the positional embedding; timm interpolates in f32.
    model = small(global_pool="token", dynamic_img_size=True)
    model.load_state_dict(weights(model.state_dict()))
    for height, width in [(24, 24), (8, 8), (12, 20)]:
        model.zero_grad()
        pooled = model(formula((1, 3, height, width), 0.5))
        (pooled * formula(pooled.shape, 3)).sum().backward()
        out[f"{height}x{width}/positions"] = resample_abs_pos_embed(model.pos_embed, (height // 4, width // 4))
        out[f"{height}x{width}/pooled"] = pooled
        out[f"{height}x{width}/gradient"] = model.pos_embed.grad.clone()
    return out


def keys():
    """What `load_state_dict(strict=True)` asks for."""
    held = {}
    for name in ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch8_224"]:
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0)
        held[name] = [[k, list(v.shape)] for k, v in model.state_dict().items()]
    return held


def prefixed(prefix, state):
    return {prefix + k: v for k, v in state.items()}


def tiny(**settings):
    model = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=1, **settings)
    model.load_state_dict({k: v.float() for k, v in weights(model.state_dict()).items()})
    return model


def checkpoints(out):
    """Files of 8 dimensions and one head, which hold `formula`s; a teacher's are one more than its student's."""
    with_head = tiny(num_classes=10).state_dict()
    state = tiny(num_classes=0).state_dict()
    torch.save(with_head, out / "timm.pth")
    scaled = tiny(num_classes=0, init_values=1e-5).state_dict()
    save_file(scaled, out / "timm-scaled.safetensors")
    # DINO: the pair as it trains, and the teacher's backbone alone, as published.
    student = {k: v + 1 for k, v in state.items()}
    head = {"head.mlp.0.weight": torch.zeros(4, 8), "head.mlp.0.bias": torch.zeros(4), "head.last_layer.weight_g": torch.ones(4, 1)}
    dino = {
        "student": prefixed("module.backbone.", student) | prefixed("module.", head),
        "teacher": prefixed("backbone.", state) | head,
        "epoch": 300, "args": argparse.Namespace(arch="vit_small"),
    }
    torch.save(dino, out / "dino.pth")
    # MAE: encoder and decoder in one network.
    decoder = {
        "mask_token": torch.zeros(1, 1, 4), "decoder_pos_embed": torch.zeros(1, 5, 4),
        "decoder_embed.weight": torch.zeros(4, 8), "decoder_embed.bias": torch.zeros(4),
        "decoder_blocks.0.norm1.weight": torch.zeros(4), "decoder_blocks.0.attn.qkv.weight": torch.zeros(12, 4),
        "decoder_norm.weight": torch.zeros(4), "decoder_pred.weight": torch.zeros(48, 4), "decoder_pred.bias": torch.zeros(48),
    }
    torch.save({"model": state | decoder, "epoch": 799, "args": argparse.Namespace(model="mae_vit_base_patch16")}, out / "mae.pth")
    vit = MaskedVisionTransformerTIMM(tiny(num_classes=0))
    vit.vit.load_state_dict(state)
    torch.save({"state_dict": prefixed("backbone.", vit.state_dict()), "epoch": 1}, out / "lightly.pth")
    # What must be refused: a norm after the pooling, registers, 12 heads that look like 6.
    torch.save(tiny(num_classes=0, global_pool="avg").state_dict(), out / "fc-norm.pth")
    torch.save(tiny(num_classes=0, reg_tokens=2).state_dict(), out / "registers.pth")


case = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
with tempfile.TemporaryDirectory() as scratch:
    out = case.parent if "--files" in sys.argv else pathlib.Path(scratch)
    checkpoints(out)
    lines = ",\n".join(f'"{name}": {json.dumps(entries)}' for name, entries in keys().items())
    (out / "timm-keys.json").write_text("{" + lines + "}\n")
save_file({k: v.detach().contiguous() for k, v in numbers().items()}, case)
print(torch.__version__, timm.__version__)

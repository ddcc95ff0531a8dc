"""MAE and I-JEPA in float64 by lightly 1.6's modules around timm's VisionTransformer, cut small: loss, what is predicted and
the gradients of all tensors, for masks that are stored; of I-JEPA five steps with its teacher.

  MAE     https://github.com/lightly-ai/lightly/blob/v1.5.22/examples/pytorch/mae.py (with the normalised targets of
          https://github.com/facebookresearch/mae/blob/efb2a8062c206524e35e47d04501ed4f544c0ae8/models_mae.py#L198-L215)
  I-JEPA  https://github.com/facebookresearch/ijepa/blob/52c1ae95d05f743e000e8f10a1f3a79b10cff048/src/train.py#L279-L312

The weights are formulas, the same in the test. Usage: make.py OUT
"""

import copy
import sys
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from lightly.models import utils
from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

warnings.simplefilter("ignore")
WIDTH, GRID = 24, 4
DECODER, PREDICTOR = 16, 12
GAINS = ("norm.weight", "norm1.weight", "norm2.weight")


def formula(shape, seed):
    n = torch.Size(shape).numel()
    return torch.sin((torch.arange(n, dtype=torch.float64) + 1) * 0.7 + seed).reshape(shape)


def weights(names, shapes, first):
    held = {}
    for seed, (name, shape) in enumerate(zip(names, shapes)):
        x = formula(shape, first + seed)
        if name.endswith(GAINS):
            x = 1 + 0.3 * x
        elif len(shape) in (2, 4):
            x = x / torch.Size(shape[1:]).numel() ** 0.5
        else:
            x = 0.3 * x
        held[name] = x
    return held


def fill(module, names, first):
    """Gives the tensors `names` of a module (in Lethe's order) the formulas of the seeds from `first` on."""
    state = module.state_dict()
    held = weights(names, [list(state[name].shape) for name in names], first)
    missing, unexpected = module.load_state_dict(held, strict=False)
    assert not unexpected and all("pos_embed" in name for name in missing), (missing, unexpected)


def block_names(prefix, depth):
    parts = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    return [f"{prefix}.{i}.{part}.{kind}" for i in range(depth) for part in parts for kind in ("weight", "bias")]


def places(width):
    """The published formula, in float64."""
    half = width // 2
    omega = 1 / 10000 ** (np.arange(half // 2) / (half / 2))
    column, row = np.meshgrid(np.arange(GRID), np.arange(GRID))
    of = lambda place: np.concatenate([np.sin(np.outer(place.ravel(), omega)), np.cos(np.outer(place.ravel(), omega))], 1)
    found = np.concatenate([of(column), of(row)], 1)
    assert np.abs(found - utils.get_2d_sine_cosine_positional_embedding(width, GRID, cls_token=False)).max() < 1e-6
    return torch.from_numpy(found)


def encoder():
    vit = VisionTransformer(img_size=4 * GRID, patch_size=4, embed_dim=WIDTH, depth=2, num_heads=3, num_classes=0)
    fill(vit.double(), list(vit.state_dict()), 0)
    wrapped = MaskedVisionTransformerTIMM(vit).double()
    # It freezes the places, and starts them with sines and cosines: here they are formulas, and trained.
    fill(vit, list(vit.state_dict()), 0)
    vit.pos_embed.requires_grad_()
    return wrapped


def gradients(case, wanted):
    return {f"{case}/gradient/{name}": p.grad for name, p in wanted if p.grad is not None}


out = {"places": places(PREDICTOR)}
images = formula((3, 3, 4 * GRID, 4 * GRID), 0.5)
generator = torch.Generator().manual_seed(0)

# ---- MAE ----
for case, norm_pix in [("mae", True), ("mae-raw", False)]:
    backbone = encoder()
    decoder = MAEDecoderTIMM(num_patches=GRID * GRID, patch_size=4, embed_dim=WIDTH, decoder_embed_dim=DECODER, decoder_depth=2,
                             decoder_num_heads=4, initialize_weights=False).double()
    inner = [name.replace("blocks", "decoder_blocks") for name in block_names("blocks", 2)]
    names = ["decoder_embed.weight", "decoder_embed.bias", "mask_token", *inner, "decoder_norm.weight", "decoder_norm.bias",
             "decoder_pred.weight", "decoder_pred.bias"]
    fill(decoder, names, 100)
    with torch.no_grad():
        decoder.decoder_pos_embed.copy_(torch.cat([torch.zeros(1, DECODER), places(DECODER)])[None])
    order = torch.stack([torch.randperm(GRID * GRID, generator=generator) for _ in images])
    kept, hidden = order[:, :4], order[:, 4:]
    with_class = torch.cat([torch.zeros(len(images), 1, dtype=torch.long), kept + 1], 1)
    latent = backbone.encode(images=images, idx_keep=with_class)
    x = decoder.embed(latent)
    masked = utils.repeat_token(decoder.mask_token, (len(images), 1 + GRID * GRID))
    masked = utils.set_at_index(masked, with_class, x)
    predicted = decoder.predict(utils.get_at_index(decoder.decode(masked), hidden + 1))
    target = utils.get_at_index(utils.patchify(images, 4), hidden)
    if norm_pix:
        target = utils.normalize_mean_var(target, dim=-1)
    loss = F.mse_loss(predicted, target)
    loss.backward()
    out |= {f"{case}/kept": kept, f"{case}/hidden": hidden, f"{case}/loss": loss, f"{case}/pixels": predicted, f"{case}/latent": latent}
    if norm_pix:
        out |= gradients(case, backbone.vit.named_parameters())
        ours = lambda name: "decoder." + name.removeprefix("decoder_")
        out |= gradients(case, [(ours(name), p) for name, p in decoder.named_parameters()])

# ---- I-JEPA ----
student = encoder()
teacher = copy.deepcopy(student)
predictor = IJEPAPredictorTIMM(num_patches=GRID * GRID, depth=2, mlp_dim=WIDTH, predictor_embed_dim=PREDICTOR, num_heads=3).double()
names = ["predictor_embed.weight", "predictor_embed.bias", "decoder.mask_token", *block_names("decoder.blocks", 2), "decoder.norm.weight",
         "decoder.norm.bias", "predictor_proj.weight", "predictor_proj.bias"]
fill(predictor, names, 100)
with torch.no_grad():
    predictor.decoder.pos_embed.copy_(places(PREDICTOR)[None])
trained = [p for p in [*student.vit.parameters(), *predictor.parameters()] if p.requires_grad]
for step in range(5):
    context = torch.stack([torch.randperm(GRID * GRID, generator=generator)[:6].sort().values for _ in images])
    targets = [torch.stack([torch.randperm(GRID * GRID, generator=generator)[:4].sort().values for _ in images]) for _ in range(2)]
    with torch.no_grad():
        h = teacher.encode(images=images)[:, 1:]
        h = F.layer_norm(h, (WIDTH,))
        h = utils.apply_masks(h, targets)
    with_class = torch.cat([torch.zeros(len(images), 1, dtype=torch.long), context + 1], 1)
    z = student.encode(images=images, idx_keep=with_class)[:, 1:]
    z = predictor(z, context, targets)
    loss = F.smooth_l1_loss(z, h)
    for p in trained:
        p.grad = None
    loss.backward()
    out |= {f"i-jepa/{step}/context": context, f"i-jepa/{step}/loss": loss}
    out |= {f"i-jepa/{step}/target{i}": target for i, target in enumerate(targets)}
    if step == 0:
        out["i-jepa/features"] = z
        out |= gradients("i-jepa", student.vit.named_parameters())
        ours = lambda name: name.replace("predictor_embed", "predictor.embed").replace("predictor_proj", "predictor.pred").replace("decoder.", "predictor.")
        out |= gradients("i-jepa", [(ours(name), p) for name, p in predictor.named_parameters()])
    # Plain gradient descent, then the teacher; the momentum rises along a line from 0.9 to 1 over the five steps.
    with torch.no_grad():
        for p in trained:
            p -= 0.2 * p.grad
        tau = 0.9 + (step + 1) / 5 * 0.1
        for of_teacher, of_student in zip(teacher.vit.parameters(), student.vit.parameters()):
            of_teacher.mul_(tau).add_((1 - tau) * of_student)
    for name in ["cls_token", "blocks.1.mlp.fc2.bias", "norm.weight"]:
        out[f"i-jepa/{step}/teacher.{name}"] = teacher.vit.state_dict()[name].clone()
save_file({k: v.detach().contiguous().clone() for k, v in out.items()}, sys.argv[1])

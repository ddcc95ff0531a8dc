"""The methods that both have, put together from lightly's heads and losses as its documentation does, with the settings that
`lethe pretrain` writes to config.toml. Runs in the peer's Python.

Where lightly leaves a choice it is Lethe's: MoCo has a queue for either direction, MMCR no teacher (its authors have none).
SwAV is without its queue, which the published recipes take up late; W-MSE and MMCR have BYOL's projector.
EMP-SSL is missing: the loss of lightly 1.6 adds the coding rate to what it minimises, where the paper subtracts it.
"""

import copy

import torch
import torch.nn.functional as F
import torchvision
from lightly import loss as losses
from lightly.data.ijepa_collate import IJEPAMaskCollator
from lightly.models import utils
from lightly.models.modules import heads
from lightly.models.modules.nn_memory_bank import NNMemoryBankModule
from lightly.transforms import GaussianBlur, RandomSolarization
from lightly.transforms.multi_view_transform import MultiViewTransform
from lightly.models.modules import IJEPAPredictorTIMM, MAEDecoderTIMM, MaskedVisionTransformerTIMM
from lightly.utils.scheduler import cosine_schedule
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision import transforms as T
from torchvision.models.resnet import BasicBlock

CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def resnet18(width):
    """torchvision's with the stem for small images, `width` channels in it, and the features' number."""
    net = torchvision.models.resnet18()
    net.conv1, net.bn1, net.maxpool = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.Identity()
    net.fc = nn.Identity()
    net.inplanes = width
    for i, stride in enumerate([1, 2, 2, 2]):
        setattr(net, f"layer{i + 1}", net._make_layer(BasicBlock, width << i, 2, stride))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net, 8 * width


def vit(width, depth, size, patch, pool):
    """timm's, for small images."""
    net = VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=max(width // 64, 1), num_classes=0,
        global_pool="token" if pool == "cls" else "avg", fc_norm=False,
    )
    return net, width


def encoder(config):
    """What config.toml names, and the number of its features."""
    name = config["encoder"].split("-")
    told = {part[0]: int(part[1:]) for part in name if part[1:].isdigit()}
    if name[0] == "resnet18":
        return resnet18(told.get("w", 64))
    return vit(told.get("w", 192), told.get("d", 12), config["image_size"], config["patch"], config["pool"])


# --- Views ---

STRONG, MEDIUM, WEAK = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)


def view(size, scale, jitter=None, blur=0.0, solarize=0.0):
    crop = T.RandomResizedCrop(size, scale, interpolation=T.InterpolationMode.BICUBIC)
    steps = [crop, T.RandomHorizontalFlip()]
    if jitter:
        steps += [T.RandomApply([T.ColorJitter(*jitter)], 0.8), T.RandomGrayscale(0.2)]
    if blur:
        steps.append(GaussianBlur(sigmas=(0.1, 2.0), prob=blur))
    if solarize:
        steps.append(RandomSolarization(prob=solarize))
    return T.Compose([*steps, T.ToTensor(), T.Normalize(*CIFAR10)])


def views(recipe, size):
    """Lethe's recipe of this name for images of up to 64 pixels."""
    wide = (0.08, 1.0)
    made = {
        "simclr": lambda: [view(size, wide, STRONG, blur=0.5)] * 2,
        "simclr-weak": lambda: [view(size, wide, MEDIUM, blur=0.5)] * 2,
        "byol": lambda: [view(size, wide, WEAK), view(size, wide, WEAK, solarize=0.2)],
        "vicreg": lambda: [view(size, (0.2, 1.0), WEAK, solarize=0.1)] * 2,
        "w-mse": lambda: [view(size, (0.2, 1.0), STRONG)] * 2,
        "mae": lambda: [view(size, wide)],
    }
    made |= {"swav": made["simclr"], "dino": made["byol"]}
    return MultiViewTransform(made[recipe]())


# --- Methods ---


def dims(dim, settings):
    return dim, settings["proj_hidden_dim"], settings["proj_output_dim"]


class Method(nn.Module):
    """A student and, where the settings have a momentum, a teacher that follows it."""

    momentum = None
    # What the loader puts a batch together with, where a method has views of its own there.
    collate = None

    def __init__(self, encoder, head, dims, settings):
        super().__init__()
        self.student = nn.Sequential(encoder, head(*dims))
        if "base_tau" in settings:
            self.momentum = settings["base_tau"], settings["final_tau"]
            self.teacher = nn.Sequential(copy.deepcopy(encoder), head(*dims)).requires_grad_(False)
            self.teacher.load_state_dict(self.student.state_dict())

    def taught(self, views):
        with torch.no_grad():
            return [self.teacher(x) for x in views]

    def before_step(self, epoch):
        pass

    def after_step(self, progress):
        if self.momentum:
            tau = cosine_schedule(int(progress * 10_000), 10_000, *self.momentum)
            utils.update_momentum(self.student, self.teacher, tau)


class SimClr(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.SimCLRProjectionHead, [*dims(dim, s), 2, False], s)
        self.criterion = losses.NTXentLoss(s["temperature"])

    def loss(self, views, epoch):
        return self.criterion(*map(self.student, views))


class Dcl(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.SimCLRProjectionHead, dims(dim, s), s)
        weighted = "sigma" in s
        self.criterion = losses.DCLWLoss(s["temperature"], s["sigma"]) if weighted else losses.DCLLoss(s["temperature"])

    def loss(self, views, epoch):
        return self.criterion(*map(self.student, views))


class MoCoV2(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.MoCoProjectionHead, dims(dim, s), s)
        bank = s["queue_size"], s["proj_output_dim"]
        self.criteria = nn.ModuleList(losses.NTXentLoss(s["temperature"], memory_bank_size=bank) for _ in range(2))

    def loss(self, views, epoch):
        k0, k1 = self.taught(views)
        q0, q1 = map(self.student, views)
        return 0.5 * (self.criteria[0](q0, k1) + self.criteria[1](q1, k0))


class Predicting(Method):
    """BYOL with a teacher, SimSiam without."""

    def __init__(self, encoder, dim, s):
        output = s["proj_output_dim"]
        byol = "base_tau" in s
        super().__init__(encoder, heads.BYOLProjectionHead if byol else heads.SimSiamProjectionHead, dims(dim, s), s)
        predictor = heads.BYOLPredictionHead if byol else heads.SimSiamPredictionHead
        self.predictor = predictor(output, s["pred_hidden_dim"], output)
        self.criterion = losses.NegativeCosineSimilarity()

    def loss(self, views, epoch):
        z = [self.student(x) for x in views]
        targets = self.taught(views) if self.momentum else [x.detach() for x in z]
        p0, p1 = map(self.predictor, z)
        return 0.5 * (self.criterion(p0, targets[1]) + self.criterion(p1, targets[0]))


class BarlowTwins(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.BarlowTwinsProjectionHead, dims(dim, s), s)
        self.criterion = losses.BarlowTwinsLoss(s["redundancy_weight"])
        self.scale = s["scale_loss"]

    def loss(self, views, epoch):
        return self.scale * self.criterion(*map(self.student, views))


class VicReg(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.VICRegProjectionHead, dims(dim, s), s)
        self.criterion = losses.VICRegLoss(s["invariance_weight"], s["variance_weight"], s["covariance_weight"])

    def loss(self, views, epoch):
        return self.criterion(*map(self.student, views))


class SwAv(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.SwaVProjectionHead, dims(dim, s), s)
        self.prototypes = heads.SwaVPrototypes(s["proj_output_dim"], s["num_prototypes"])
        self.criterion = losses.SwaVLoss(s["temperature"], s["sk_iters"], s["sk_epsilon"])
        self.frozen = s["freeze_prototypes_epochs"]

    def loss(self, views, epoch):
        self.prototypes.normalize()
        z = [F.normalize(self.student(x), dim=1) for x in views]
        return self.criterion([self.prototypes(x) for x in z], [])

    def before_step(self, epoch):
        if epoch < self.frozen:
            for p in self.prototypes.parameters():
                p.grad = None


class Dino(Method):
    def __init__(self, encoder, dim, s):
        head = [*dims(dim, s), s["num_prototypes"], s["use_bn_in_head"], s["freeze_last_layer"]]
        super().__init__(encoder, heads.DINOProjectionHead, head, s)
        self.criterion = losses.DINOLoss(
            s["num_prototypes"], s["warmup_teacher_temperature"], s["teacher_temperature"],
            s["warmup_teacher_temperature_epochs"], s["student_temperature"],
        )

    def loss(self, views, epoch):
        return self.criterion(self.taught(views), [self.student(x) for x in views], epoch=epoch)

    def before_step(self, epoch):
        self.student[1].cancel_last_layer_gradients(epoch)


class WMse(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.BYOLProjectionHead, dims(dim, s), s)
        self.criterion = losses.WMSELoss(s["proj_output_dim"], w_size=s["whitening_size"])

    def loss(self, views, epoch):
        z = torch.cat([self.student(x) for x in views])
        with torch.autocast(z.device.type, enabled=False):  # which would have Cholesky's factor of bf16
            return self.criterion(z.float())


class NnClr(Method):
    def __init__(self, encoder, dim, s):
        output = s["proj_output_dim"]
        super().__init__(encoder, heads.NNCLRProjectionHead, dims(dim, s), s)
        self.predictor = heads.NNCLRPredictionHead(output, s["pred_hidden_dim"], output)
        self.bank = NNMemoryBankModule((s["queue_size"], output))
        self.criterion = losses.NTXentLoss(s["temperature"])

    def loss(self, views, epoch):
        z0, z1 = map(self.student, views)
        p0, p1 = self.predictor(z0), self.predictor(z1)
        n0, n1 = self.bank(z0.detach(), update=False), self.bank(z1.detach(), update=True)
        return 0.5 * (self.criterion(n0, p1) + self.criterion(n1, p0))


class Mmcr(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.BYOLProjectionHead, dims(dim, s), s)
        self.criterion = losses.MMCRLoss(s["local_weight"])

    def loss(self, views, epoch):
        z0, z1 = (F.normalize(self.student(x), dim=1).unsqueeze(1) for x in views)
        return self.criterion(z0, z1)


class TiCo(Method):
    def __init__(self, encoder, dim, s):
        super().__init__(encoder, heads.TiCoProjectionHead, dims(dim, s), s)
        self.criterion = losses.TiCoLoss(s["beta"], s["rho"])

    def loss(self, views, epoch):
        k0, k1 = self.taught(views)
        z0, z1 = map(self.student, views)
        return self.criterion(torch.cat([z0, z1]), torch.cat([k1, k0]))


class Mae(Method):
    """lightly's example (examples/pytorch/mae.py), with the authors' normalised targets."""

    def __init__(self, encoder, dim, s):
        backbone = MaskedVisionTransformerTIMM(encoder)
        patches = encoder.patch_embed.num_patches, encoder.patch_embed.patch_size[0]
        decoder = [*patches, 3, dim, s["decoder_embed_dim"], s["decoder_depth"], s["decoder_num_heads"]]
        super().__init__(backbone, MAEDecoderTIMM, decoder, s)
        self.mask_ratio, self.norm_pix = s["mask_ratio"], s["norm_pix"]

    def loss(self, views, epoch):
        backbone, decoder = self.student
        images = views[0]
        n, length = len(images), backbone.sequence_length
        keep, mask = utils.random_token_mask((n, length), mask_ratio=self.mask_ratio, device=images.device)
        x = decoder.embed(backbone.encode(images=images, idx_keep=keep))
        standing = utils.repeat_token(decoder.mask_token, (n, length)).to(x.dtype)
        masked = utils.set_at_index(standing, keep, x)
        predicted = decoder.predict(utils.get_at_index(decoder.decode(masked), mask))
        target = utils.get_at_index(utils.patchify(images, backbone.vit.patch_embed.patch_size[0]), mask - 1)
        if self.norm_pix:
            target = utils.normalize_mean_var(target, dim=-1)
        return F.mse_loss(predicted, target)


class IJepa(Method):
    """lightly's example (examples/pytorch/ijepa.py) on timm's encoder: its class token sees the context and predicts nothing."""

    def __init__(self, encoder, dim, s):
        backbone = MaskedVisionTransformerTIMM(encoder)
        patches, patch = encoder.patch_embed, encoder.patch_embed.patch_size[0]
        heads = encoder.blocks[0].attn.num_heads
        predictor = [patches.num_patches, s["pred_depth"], dim, s["pred_embed_dim"], heads]
        super().__init__(backbone, IJEPAPredictorTIMM, predictor, s)
        self.teacher = self.teacher[0]
        scales = tuple(s["context_scale"]), tuple(s["target_scale"]), tuple(s["target_aspect"])
        self.collate = IJEPAMaskCollator(patches.img_size[0], patch, *scales, 1, s["targets"], s["min_keep"])

    def loss(self, views, epoch):
        backbone, predictor = self.student
        images, context, targets = views
        with torch.no_grad():
            features = self.teacher.encode(images)[:, 1:]
            truth = utils.apply_masks(F.layer_norm(features, features.shape[2:]), targets)
        keep = F.pad(context[0] + 1, (1, 0))
        seen = backbone.encode(images, idx_keep=keep)[:, 1:]
        return F.smooth_l1_loss(predictor(seen, context, targets), truth)

    def after_step(self, progress):
        start, end = self.momentum
        utils.update_momentum(self.student[0], self.teacher, start + progress * (end - start))


METHODS = {
    "simclr": SimClr,
    "moco-v2": MoCoV2,
    "byol": Predicting,
    "simsiam": Predicting,
    "barlow-twins": BarlowTwins,
    "vicreg": VicReg,
    "swav": SwAv,
    "dino": Dino,
    "w-mse": WMse,
    "nnclr": NnClr,
    "dcl": Dcl,
    "dclw": Dcl,
    "mmcr": Mmcr,
    "tico": TiCo,
    "mae": Mae,
    "i-jepa": IJepa,
}

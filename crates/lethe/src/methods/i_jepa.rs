//! I-JEPA (Assran et al. 2023, arXiv 2301.08243): a teacher's features of hidden blocks from the blocks around them.

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::masked::{Predictor, places, take, whole_vit};
use super::{Entry, Loss, Method, Recipe, Views, from_settings, full_precision, teacher, to_settings};
use crate::encoders::{Encoder, Part, Pool, Vit};
use crate::error::{Error, Result};
use crate::nn::{DropPath, Mode, Weights};
use crate::rng::{self, Purpose, Rng};

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    title: "I-JEPA",
    paper: "arXiv 2301.08243",
    recipe: Recipe { optimizer: "adamw", lr: 1.25e-4, weight_decay: 0.04, augmentation: "mae" },
    build: from_settings::<IJepa>,
};

const NAME: &str = "i-jepa";
/// Draws of a context before a target is given up that it must not touch.
const TRIES: usize = 20;

/// Defaults as the authors' for ImageNet
/// (<https://github.com/facebookresearch/ijepa/blob/52c1ae95d05f743e000e8f10a1f3a79b10cff048/configs/in1k_vith14_ep300.yaml>),
/// with the predictor of 6 blocks that the paper gives a ViT-B; nobody publishes any for CIFAR. Other than theirs our encoder
/// has a class token, which sees all and predicts nothing: the representation is the mean of the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IJepa {
    /// Blocks to predict.
    pub targets: usize,
    /// Share of the image that each covers, and its height over its width; least and most.
    pub target_scale: [f64; 2],
    pub target_aspect: [f64; 2],
    /// Share that the square block covers of which the context is what no target covers.
    pub context_scale: [f64; 2],
    /// A context must have more patches than that.
    pub min_keep: usize,
    pub pred_embed_dim: i64,
    pub pred_depth: usize,
    /// The teacher's momentum at the start; it rises to `final_tau` along a line.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for IJepa {
    fn default() -> Self {
        Self {
            targets: 4,
            target_scale: [0.15, 0.2],
            target_aspect: [0.75, 1.5],
            context_scale: [0.85, 1.0],
            min_keep: 10,
            pred_embed_dim: 384,
            pred_depth: 6,
            base_tau: 0.996,
            final_tau: 1.0,
        }
    }
}

/// What a view gives.
pub struct Prediction {
    /// Mean smooth L1 distance (of threshold 1) of predicted and true features.
    pub distance: Tensor,
    /// What leaves the context encoder, `[n, 1 + context, d]`, the class token first.
    pub latent: Tensor,
    /// The predicted features, `[targets * n, places, d]`, target by target.
    pub features: Tensor,
}

/// The places of an image's context and targets in a batch: `[n, k]`, and `[n, m]` each.
pub struct Blocks {
    pub context: Tensor,
    pub targets: Vec<Tensor>,
}

impl IJepa {
    fn predictor(&self, vit: &Vit) -> Predictor {
        Predictor { name: "predictor", width: self.pred_embed_dim, depth: self.pred_depth, heads: vit.shape.heads }
    }

    /// Predicts the teacher's features, normalised a token, at each target from the student's at the context (equation 1 of
    /// the paper; the authors' code takes smooth L1 where it writes L2). `images` are `[n, 3, h, w]`, of the size that `vit`
    /// is made for. The student alone drops paths.
    pub fn predict(
        &self,
        vit: &Vit,
        w: &Weights,
        images: &Tensor,
        blocks: &Blocks,
        drop: Option<&DropPath>,
    ) -> Prediction {
        let truth = tch::no_grad(|| {
            let teacher = w.under("teacher.");
            let images = images.detach();
            let tokens = vit.with_class_token(&teacher, &vit.embed(&teacher, &images));
            let tokens = vit.encode(&teacher, &tokens, None);
            let tokens = full_precision(&tokens.narrow(1, 1, tokens.size()[1] - 1));
            let tokens = tokens.layer_norm([vit.shape.width], None::<&Tensor>, None::<&Tensor>, 1e-5, false);
            let of_targets: Vec<Tensor> = blocks.targets.iter().map(|target| take(&tokens, target)).collect();
            Tensor::cat(&of_targets, 0)
        });
        let context = take(&vit.embed(w, images), &blocks.context);
        let latent = vit.encode(w, &vit.with_class_token(w, &context), drop);
        let seen = latent.narrow(1, 1, latent.size()[1] - 1);
        // All targets at once, as images of their own.
        let targets = blocks.targets.len() as i64;
        let predictor = self.predictor(vit);
        let hidden = Tensor::cat(&blocks.targets, 0);
        let (seen, places) = (seen.repeat([targets, 1, 1]), blocks.context.repeat([targets, 1]));
        let features = full_precision(&predictor.predict(w, &seen, &places, &hidden));
        Prediction { distance: features.smooth_l1_loss(&truth, Reduction::Mean, 1.0), latent, features }
    }

    /// Blocks for n images of `grid * grid` patches, as the authors' collator draws them: sizes once a batch, places once an
    /// image, and all contexts cut to the size of the smallest, from their end.
    pub fn blocks(&self, n: i64, grid: i64, rng: &mut Rng, device: tch::Device) -> Blocks {
        let target = size(grid, self.target_scale, self.target_aspect, rng);
        let context = size(grid, self.context_scale, [1.0, 1.0], rng);
        let mut contexts = Vec::new();
        let mut targets = vec![Vec::new(); self.targets];
        for _ in 0..n {
            let drawn: Vec<Vec<i64>> = (0..self.targets).map(|_| block(grid, target, rng)).collect();
            contexts.push(self.context(grid, context, &drawn, rng));
            for (all, one) in targets.iter_mut().zip(drawn) {
                all.push(one);
            }
        }
        let least = contexts.iter().map(Vec::len).min().unwrap_or(0);
        contexts.iter_mut().for_each(|context| context.truncate(least));
        let targets = targets.iter().map(|target| places(target, device)).collect();
        Blocks { context: places(&contexts, device), targets }
    }

    /// A block without the targets. Where too little is left of it again and again, it may touch the last target, then the
    /// one before it.
    fn context(&self, grid: i64, size: [i64; 2], targets: &[Vec<i64>], rng: &mut Rng) -> Vec<i64> {
        for given_up in 0..targets.len() {
            let barred = &targets[..targets.len() - given_up];
            for _ in 0..TRIES {
                let mut left = block(grid, size, rng);
                left.retain(|place| !barred.iter().any(|target| target.contains(place)));
                if left.len() > self.min_keep {
                    return left;
                }
            }
        }
        block(grid, size, rng)
    }
}

/// Height and width of a block in patches; one draw decides on both its share and its aspect.
fn size(grid: i64, scale: [f64; 2], aspect: [f64; 2], rng: &mut Rng) -> [i64; 2] {
    let drawn: f64 = rng.random();
    let between = |[least, most]: [f64; 2]| least + drawn * (most - least);
    let (patches, aspect) = (((grid * grid) as f64 * between(scale)).floor(), between(aspect));
    [(patches * aspect).sqrt(), (patches / aspect).sqrt()]
        .map(|side| (side.round_ties_even() as i64).clamp(1, grid - 1))
}

/// The places of a block, row by row.
fn block(grid: i64, [height, width]: [i64; 2], rng: &mut Rng) -> Vec<i64> {
    let (top, left) = (rng.random_range(0..grid - height), rng.random_range(0..grid - width));
    (top..top + height).flat_map(|row| (left..left + width).map(move |column| row * grid + column)).collect()
}

impl Method for IJepa {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, _dim: i64, _rng: &mut Rng) -> Weights {
        unreachable!("a predictor is made for the patches of an encoder")
    }

    fn init_for(&self, net: &Part, rng: &mut Rng) -> Weights {
        let vit = net.encoder().vit().expect("checked before");
        self.predictor(vit).init(vit, vit.shape.width, rng)
    }

    fn check(&self, net: &Part) -> Result<()> {
        let vit = whole_vit(NAME, net)?;
        if vit.shape.pool == Pool::Cls {
            return Err(Error::usage(format!("{NAME} trains no class token to stand for an image")).hint("--pool mean"));
        }
        let grid = vit.shape.image_size / vit.shape.patch;
        if grid < 2 || self.targets == 0 {
            return Err(Error::usage(format!("{NAME}: no {} blocks in {grid} x {grid} patches", self.targets)));
        }
        let ranges = [
            ("target_scale", self.target_scale, 1.0),
            ("target_aspect", self.target_aspect, f64::MAX),
            ("context_scale", self.context_scale, 1.0),
        ];
        if let Some((key, range, _)) =
            ranges.iter().find(|(_, [least, most], end)| !(*least > 0.0 && least <= most && most <= end))
        {
            return Err(Error::usage(format!("{NAME}: {key} {range:?} is no range of shares")));
        }
        self.predictor(vit).check(NAME)
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &["predictor."]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let vit = whole_vit(NAME, net)?;
        let grid = vit.shape.image_size / vit.shape.patch;
        let mut distances = Vec::new();
        let (mut representations, mut projections) = (Vec::new(), Vec::new());
        for (view, images) in views.inputs.iter().enumerate() {
            vit.expect_own_size(NAME, images)?;
            let mut rng = rng::keyed(views.draw, Purpose::Loss, 0, 0, view as u32);
            let blocks = self.blocks(images.size()[0], grid, &mut rng, images.device());
            let Prediction { distance, latent, features } = self.predict(vit, w, images, &blocks, net.drop_path(mode));
            distances.push(distance);
            representations.push(vit.pool(vit.shape.depth, &latent));
            projections.push(features.narrow(0, 0, images.size()[0]).flatten(1, 2));
        }
        let total = Tensor::stack(&distances, 0).mean(None::<Kind>);
        Ok(Loss::of("prediction", total, representations, projections))
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, self.base_tau + progress * (self.final_tau - self.base_tau));
    }
}

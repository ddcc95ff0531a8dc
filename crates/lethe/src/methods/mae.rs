//! Masked autoencoders (He et al. 2022, arXiv 2111.06377): the pixels of hidden patches from the few that are seen.

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::masked::{Predictor, parted, take, whole_vit};
use super::{Entry, Loss, Method, Recipe, Views, from_settings, full_precision, to_settings};
use crate::encoders::{Encoder, Part, Vit};
use crate::error::{Error, Result};
use crate::nn::{self, DropPath, Mode, Weights};
use crate::rng::{self, Purpose, Rng};

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    title: "MAE",
    paper: "arXiv 2111.06377",
    recipe: Recipe { optimizer: "adamw", lr: 2e-4, weight_decay: 0.05, augmentation: "mae" },
    build: from_settings::<Mae>,
};

const NAME: &str = "mae";

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mae {
    /// Share of the patches that are hidden.
    pub mask_ratio: f64,
    /// Whether the pixels of a patch are brought to mean 0 and variance 1 before they are compared.
    pub norm_pix: bool,
    pub decoder_embed_dim: i64,
    pub decoder_depth: usize,
    pub decoder_num_heads: i64,
}

impl Default for Mae {
    fn default() -> Self {
        Self { mask_ratio: 0.75, norm_pix: true, decoder_embed_dim: 512, decoder_depth: 8, decoder_num_heads: 16 }
    }
}

/// What a view gives.
pub struct Reconstruction {
    /// Mean squared error of the pixels of hidden patches.
    pub error: Tensor,
    /// What leaves the encoder, `[n, 1 + kept, d]`, the class token first.
    pub latent: Tensor,
    /// The predicted pixels of the hidden patches, `[n, hidden, 3 * patch * patch]`; colours of a pixel stand together.
    pub pixels: Tensor,
}

impl Mae {
    fn decoder(&self) -> Predictor {
        let Self { decoder_embed_dim: width, decoder_depth: depth, decoder_num_heads: heads, .. } = *self;
        Predictor { name: "decoder", width, depth, heads }
    }

    /// Predicts the pixels of the patches at `hidden` `[n, m]` from those at `kept` `[n, k]` (section 3 of the paper);
    /// `images` are `[n, 3, h, w]`, of the size that `vit` is made for.
    pub fn reconstruct(
        &self,
        vit: &Vit,
        w: &Weights,
        images: &Tensor,
        kept: &Tensor,
        hidden: &Tensor,
        drop: Option<&DropPath>,
    ) -> Reconstruction {
        let visible = take(&vit.embed(w, images), kept);
        let latent = vit.encode(w, &vit.with_class_token(w, &visible), drop);
        let pixels = full_precision(&self.decoder().predict(w, &latent, kept, hidden));
        let patches = nn::patches(&full_precision(images), vit.shape.patch);
        let mut target = take(&patches.permute([0, 1, 2, 4, 5, 3]).flatten(3, 5).flatten(1, 2), hidden);
        if self.norm_pix {
            let mean = target.mean_dim([-1i64].as_slice(), true, None::<Kind>);
            let variance = target.var_dim([-1i64].as_slice(), true, true);
            target = (target - mean) / (variance + 1e-6).sqrt();
        }
        Reconstruction { error: pixels.mse_loss(&target, Reduction::Mean), latent, pixels }
    }
}

impl Method for Mae {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, _dim: i64, _rng: &mut Rng) -> Weights {
        unreachable!("a decoder is made for the patches of an encoder")
    }

    fn init_for(&self, net: &Part, rng: &mut Rng) -> Weights {
        let vit = net.encoder().vit().expect("checked before");
        self.decoder().init(vit, 3 * vit.shape.patch.pow(2), rng)
    }

    fn check(&self, net: &Part) -> Result<()> {
        let vit = whole_vit(NAME, net)?;
        let patches = (vit.shape.image_size / vit.shape.patch).pow(2);
        let kept = (patches as f64 * (1.0 - self.mask_ratio)) as i64;
        if !(1..patches).contains(&kept) {
            return Err(Error::usage(format!(
                "{NAME}: mask_ratio {} of {patches} patches keeps {kept}",
                self.mask_ratio
            )));
        }
        self.decoder().check(NAME)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let vit = whole_vit(NAME, net)?;
        let patches = w.get("memory.places").size()[0];
        let kept = (patches as f64 * (1.0 - self.mask_ratio)) as usize;
        let mut errors = Vec::new();
        let (mut representations, mut projections) = (Vec::new(), Vec::new());
        for (view, images) in views.inputs.iter().enumerate() {
            vit.expect_own_size(NAME, images)?;
            let mut rng = rng::keyed(views.draw, Purpose::Loss, 0, 0, view as u32);
            let (kept, hidden) = parted(images.size()[0], patches, kept, &mut rng, images.device());
            let Reconstruction { error, latent, pixels } =
                self.reconstruct(vit, w, images, &kept, &hidden, net.drop_path(mode));
            errors.push(error);
            representations.push(vit.pool(vit.shape.depth, &latent));
            projections.push(pixels.flatten(1, 2));
        }
        let total = Tensor::stack(&errors, 0).mean(None::<Kind>);
        Ok(Loss::of("reconstruction", total, representations, projections))
    }
}

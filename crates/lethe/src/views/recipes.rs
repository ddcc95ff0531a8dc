//! The augmentations of published methods, as solo-learn has them (`scripts/pretrain/{cifar,imagenet-100}` at 9187ea3).

use super::{Blur, ColorJitter, Crop, Op, RandomResizedCrop, Step, View};

/// Two views by name; `views` takes their size in pixels.
pub struct Recipe {
    pub name: &'static str,
    pub paper: &'static str,
    pub views: fn(u32) -> [View; 2],
}

pub const RECIPES: &[Recipe] = &[
    Recipe { name: "simclr", paper: "Chen et al. 2020, arXiv 2002.05709", views: simclr },
    Recipe { name: "byol", paper: "Grill et al. 2020, arXiv 2006.07733", views: byol },
    Recipe { name: "vicreg", paper: "Bardes et al. 2022, arXiv 2105.04906", views: vicreg },
];

/// Up to this size the published recipes leave out the blur, SimCLR's excepted.
const SMALL: u32 = 64;

const STRONG: ColorJitter = ColorJitter { brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2 };
const WEAK: ColorJitter = ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 };

/// Probabilities and strengths that differ between the recipes.
struct Choice {
    smallest: f64,
    jitter: ColorJitter,
    blur: f64,
    solarize: f64,
}

fn view(choice: &Choice) -> View {
    let step = |probability: f64, op: Op| Step { probability, op };
    let steps = [
        step(0.8, Op::ColorJitter(choice.jitter)),
        step(0.2, Op::Grayscale),
        step(choice.blur, Op::Blur(Blur { sigma: (0.1, 2.0) })),
        step(choice.solarize, Op::Solarize),
        step(0.5, Op::Flip),
    ];
    let steps = steps.into_iter().filter(|step| step.probability > 0.0).collect();
    View { crop: Crop::Random(RandomResizedCrop::with_scale(choice.smallest, 1.0)), steps }
}

fn simclr(_size: u32) -> [View; 2] {
    [(); 2].map(|()| view(&Choice { smallest: 0.08, jitter: STRONG, blur: 0.5, solarize: 0.0 }))
}

/// Asymmetric: the second view is solarised and hardly blurred.
fn byol(size: u32) -> [View; 2] {
    let blurs = if size <= SMALL { [0.0, 0.0] } else { [1.0, 0.1] };
    [(blurs[0], 0.0), (blurs[1], 0.2)]
        .map(|(blur, solarize)| view(&Choice { smallest: 0.08, jitter: WEAK, blur, solarize }))
}

fn vicreg(size: u32) -> [View; 2] {
    let blur = if size <= SMALL { 0.0 } else { 0.5 };
    [(); 2].map(|()| view(&Choice { smallest: 0.2, jitter: WEAK, blur, solarize: 0.1 }))
}

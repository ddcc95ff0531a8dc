//! The augmentations of published methods, as solo-learn has them (`scripts/pretrain/{cifar,imagenet-100}` at 9187ea3)
//! unless a recipe says otherwise.

use super::{Blur, ColorJitter, Crop, Op, RandomResizedCrop, Step, View};

/// Views by name.
pub struct Recipe {
    pub name: &'static str,
    pub paper: &'static str,
    /// The views of images of so many pixels: first those of full size, then the small ones of multi-crop.
    pub views: fn(u32) -> Vec<View>,
}

pub const RECIPES: &[Recipe] = &[
    Recipe { name: "simclr", paper: "Chen et al. 2020, arXiv 2002.05709", views: simclr },
    Recipe { name: "simclr-weak", paper: "Chen et al. 2020, arXiv 2003.04297 (MoCo v2)", views: simclr_weak },
    Recipe { name: "byol", paper: "Grill et al. 2020, arXiv 2006.07733", views: byol },
    Recipe { name: "vicreg", paper: "Bardes et al. 2022, arXiv 2105.04906", views: vicreg },
    Recipe { name: "ressl", paper: "Zheng et al. 2021, arXiv 2107.09282", views: ressl },
    Recipe { name: "w-mse", paper: "Ermolov et al. 2021, arXiv 2007.06346", views: w_mse },
    Recipe { name: "swav", paper: "Caron et al. 2020, arXiv 2006.09882", views: swav },
    Recipe { name: "dino", paper: "Caron et al. 2021, arXiv 2104.14294", views: dino },
    Recipe { name: "emp-ssl", paper: "Tong et al. 2023, arXiv 2304.03977", views: emp_ssl },
    Recipe { name: "mae", paper: "He et al. 2022, arXiv 2111.06377", views: mae },
];

/// Up to this size the published recipes do without multi-crop and, but for those of SimCLR, ReSSL and EMP-SSL, without
/// blur.
const SMALL: u32 = 64;

const STRONG: ColorJitter = ColorJitter { brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2 };
const MEDIUM: ColorJitter = ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
const WEAK: ColorJitter = ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 };

/// What is done to the colours and the sharpness of a crop: a jitter, and the probabilities of blur and solarising.
#[derive(Clone, Copy)]
struct Distortion {
    jitter: ColorJitter,
    blur: f64,
    solarize: f64,
}

/// A part of the image between `scale` of its area, flipped half of the time.
fn cropped(size: u32, scale: (f64, f64)) -> View {
    let crop = Crop::Random(RandomResizedCrop::with_scale(scale.0, scale.1));
    View { size, crop, steps: vec![Step { probability: 0.5, op: Op::Flip }] }
}

fn distorted(size: u32, scale: (f64, f64), distortion: Distortion) -> View {
    let step = |probability: f64, op: Op| Step { probability, op };
    let steps = [
        step(0.8, Op::ColorJitter(distortion.jitter)),
        step(0.2, Op::Grayscale),
        step(distortion.blur, Op::Blur(Blur { sigma: (0.1, 2.0) })),
        step(distortion.solarize, Op::Solarize),
    ];
    let mut view = cropped(size, scale);
    view.steps.splice(0..0, steps.into_iter().filter(|step| step.probability > 0.0));
    view
}

/// `large` up to [`SMALL`] pixels left out.
fn blur(size: u32, large: f64) -> f64 {
    if size <= SMALL { 0.0 } else { large }
}

fn simclr(size: u32) -> Vec<View> {
    vec![distorted(size, (0.08, 1.0), Distortion { jitter: STRONG, blur: 0.5, solarize: 0.0 }); 2]
}

/// SimCLR's with half the jitter: solo-learn's `symmetric_weak`, for MoCo v2 and SimSiam.
fn simclr_weak(size: u32) -> Vec<View> {
    vec![distorted(size, (0.08, 1.0), Distortion { jitter: MEDIUM, blur: 0.5, solarize: 0.0 }); 2]
}

/// Asymmetric: the second view is solarised and hardly blurred.
fn byol(size: u32) -> Vec<View> {
    asymmetric(size, (0.08, 1.0))
}

fn asymmetric(size: u32, scale: (f64, f64)) -> Vec<View> {
    [(1.0, 0.0), (0.1, 0.2)]
        .map(|(large, solarize)| distorted(size, scale, Distortion { jitter: WEAK, blur: blur(size, large), solarize }))
        .into()
}

fn vicreg(size: u32) -> Vec<View> {
    vec![distorted(size, (0.2, 1.0), Distortion { jitter: WEAK, blur: blur(size, 0.5), solarize: 0.1 }); 2]
}

/// The second view, which the teacher sees, is only cropped and flipped.
fn ressl(size: u32) -> Vec<View> {
    let strong = distorted(size, (0.08, 1.0), Distortion { jitter: WEAK, blur: 0.5, solarize: 0.0 });
    vec![strong, cropped(size, (0.08, 1.0))]
}

/// Two views at every size; solo-learn's six more of 96 pixels for ImageNet are not the authors'.
fn w_mse(size: u32) -> Vec<View> {
    vec![distorted(size, (0.2, 1.0), Distortion { jitter: STRONG, blur: blur(size, 0.2), solarize: 0.0 }); 2]
}

/// Small images: SimCLR's two views. Larger: the authors' 2 x 224 + 6 x 96
/// (<https://github.com/facebookresearch/swav/blob/06b1b7cbaf6ba2a792300d79c7299db98b93b7f9/scripts/swav_800ep_pretrain.sh>).
fn swav(size: u32) -> Vec<View> {
    if size <= SMALL {
        return simclr(size);
    }
    let distortion = Distortion { jitter: STRONG, blur: 0.5, solarize: 0.0 };
    let mut views = vec![distorted(size, (0.14, 1.0), distortion); 2];
    views.extend(vec![distorted(local(size), (0.05, 0.14), distortion); 6]);
    views
}

/// Small images: BYOL's two views, no local ones. Larger: the authors' 2 x 224 + 8 x 96
/// (<https://github.com/facebookresearch/dino/blob/7c446df5b9f45747937fb0d72314eb9f7b66930a/main_dino.py>).
fn dino(size: u32) -> Vec<View> {
    if size <= SMALL {
        return byol(size);
    }
    let mut views = asymmetric(size, (0.4, 1.0));
    let distortion = Distortion { jitter: WEAK, blur: 0.5, solarize: 0.0 };
    views.extend(vec![distorted(local(size), (0.05, 0.4), distortion); 8]);
    views
}

/// 96 pixels beside 224, and as much smaller beside others.
fn local(size: u32) -> u32 {
    (f64::from(size) * 96.0 / 224.0).round() as u32
}

/// Twenty patches of a quarter of the image, square where images are small
/// (<https://github.com/tsb0601/EMP-SSL/tree/0b79c5add1e501e690667efdc12a4ccd7033f8eb/dataset>).
fn emp_ssl(size: u32) -> Vec<View> {
    let jitter = ColorJitter { hue: 0.2, ..MEDIUM };
    let mut patch = distorted(size, (0.25, 0.25), Distortion { jitter, blur: 0.1, solarize: 0.1 });
    if let Crop::Random(crop) = &mut patch.crop
        && size <= SMALL
    {
        crop.ratio = (1.0, 1.0);
    }
    vec![patch; 20]
}

/// One view, cropped and flipped; larger images by the authors' scale
/// (<https://github.com/facebookresearch/mae/blob/efb2a8062c206524e35e47d04501ed4f544c0ae8/main_pretrain.py>).
fn mae(size: u32) -> Vec<View> {
    vec![cropped(size, (if size <= SMALL { 0.08 } else { 0.2 }, 1.0))]
}

//! Self-supervised methods: a loss of several views with its head and teacher.
//!
//! A new method is one file and one line in [`METHODS`].

mod barlow_twins;
mod byol;
pub mod coding_rate;
pub mod corinfomax;
mod dcl;
mod dino;
mod emp_ssl;
pub mod heads;
mod i_jepa;
mod mae;
mod masked;
mod mec;
mod memory;
mod mmcr;
mod moco_v2;
mod moco_v3;
mod nnclr;
mod relic;
mod ressl;
mod simclr;
mod simdino;
mod simsiam;
mod supcon;
mod supervised;
mod swav;
mod teacher;
pub mod tico;
mod vicreg;
mod views;
mod w_mse;

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::{Error, Result};
use crate::nn::{Mode, Weights};
use crate::rng::Rng;
use crate::views::{Augmentation, Normalize, augmentation as augmentation_of};

pub use barlow_twins::{BarlowTwins, barlow_twins};
pub use byol::{Byol, distance as byol_distance};
pub use corinfomax::CorInfoMax;
pub use dcl::{Dcl, Dclw, dcl};
pub use dino::Dino;
pub use emp_ssl::{EmpSsl, emp_ssl};
pub use i_jepa::{Blocks, IJepa, Prediction};
pub use mae::{Mae, Reconstruction};
pub use mec::{Mec, code_length};
pub use memory::{Memory, remember};
pub use mmcr::{Mmcr, mmcr};
pub use moco_v2::{MoCoV2, info_nce};
pub use moco_v3::{MoCoV3, contrast as moco_v3_contrast};
pub use nnclr::{NnClr, nearest as nearest_in_support, nnclr};
pub use relic::{Relic, relic};
pub use ressl::{ReSsl, relation};
pub use simclr::{SimClr, nt_xent};
pub use simdino::{SimDino, simdino};
pub use simsiam::{SimSiam, negative_cosine};
pub use supcon::{SupCon, supcon};
pub use supervised::{Supervised, classification};
pub use swav::{SwAv, sinkhorn, swapped_prediction};
pub use tico::{TiCo, tico};
pub use vicreg::{VicReg, vicreg};
pub use views::Views;
pub use w_mse::{WMse, w_mse};

/// What a loss gives back; everything stays on the device, in the graph, until it is logged.
pub struct Loss {
    /// The scalar to minimise.
    pub total: Tensor,
    /// Its named parts.
    pub terms: Vec<(&'static str, Tensor)>,
    /// The student's representations `[n, d]` and projections `[n, p]`, one of each view.
    pub representations: Vec<Tensor>,
    pub projections: Vec<Tensor>,
    /// What to [`remember`] when the step on this loss has been made.
    pub memory: Vec<Memory>,
}

impl Loss {
    /// Of a single term, with nothing to remember.
    fn of(term: &'static str, total: Tensor, representations: Vec<Tensor>, projections: Vec<Tensor>) -> Self {
        Self { terms: vec![(term, total.shallow_clone())], total, representations, projections, memory: Vec::new() }
    }

    /// The same numbers, cut from any graph.
    pub fn detach(&self) -> Loss {
        let cut = |tensors: &[Tensor]| tensors.iter().map(Tensor::detach).collect();
        Loss {
            total: self.total.detach(),
            terms: self.terms.iter().map(|(name, term)| (*name, term.detach())).collect(),
            representations: cut(&self.representations),
            projections: cut(&self.projections),
            memory: self.memory.iter().map(Memory::shallow_clone).collect(),
        }
    }
}

/// A method's hyper-parameters; all that changes while it trains lives in `Weights`: `projector.*`, `predictor.*` and what
/// else is trained, and as buffers `teacher.*` and `memory.*`.
pub trait Method: Send + Sync {
    /// The hyper-parameters, as written to `config.toml`.
    fn settings(&self) -> toml::Table;

    /// Takes from the images what its settings leave to them.
    ///
    /// # Errors
    /// When it cannot be trained on batches of so many of them.
    fn prepare(&mut self, _images: &dyn Dataset, _batch_size: usize) -> Result<()> {
        Ok(())
    }

    /// Fresh heads for representations of dimension `dim`.
    fn init(&self, dim: i64, rng: &mut Rng) -> Weights;

    /// Fresh heads for these stages.
    fn init_for(&self, net: &Part, rng: &mut Rng) -> Weights {
        self.init(net.dim(), rng)
    }

    /// # Errors
    /// When it cannot train these stages: of another kind of encoder, or a part of one.
    fn check(&self, _net: &Part) -> Result<()> {
        Ok(())
    }

    /// Makes the teacher, where there is one, a copy of the student in `w`.
    fn teach(&self, _w: &mut Weights) {}

    /// A function of its arguments: what it draws by chance hangs on `views.draw`, and nothing in `w` changes but running
    /// statistics, as `mode` says.
    ///
    /// # Errors
    /// When the network or the images do not suit the method.
    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss>;

    /// Moves the teacher after an optimiser's step; `progress` runs from 0 to 1 over the training.
    fn after_step(&self, _w: &Weights, _progress: f64) {}
}

/// What a method is trained with unless told otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recipe {
    pub optimizer: &'static str,
    /// Learning rate for a batch of 256; it is scaled by batch / 256.
    pub lr: f64,
    pub weight_decay: f64,
    pub augmentation: &'static str,
}

pub struct Entry {
    pub name: &'static str,
    pub title: &'static str,
    pub paper: &'static str,
    pub recipe: Recipe,
    /// From the table `[method_settings]` of a configuration; absent keys take the published values.
    pub build: fn(&toml::Table) -> Result<Box<dyn Method>>,
}

impl Entry {
    /// # Errors
    /// When `augmentation` gives one view and the method compares two.
    pub fn check_views(&self, augmentation: &Augmentation) -> Result<()> {
        let own = augmentation_of(self.recipe.augmentation, 32, Normalize::named("none")?)?;
        if augmentation.views().len() >= own.views().len().min(2) {
            return Ok(());
        }
        Err(Error::usage(format!("{} compares two views of an image, this augmentation gives one", self.name))
            .hint(format!("--augmentation {} is its own", self.recipe.augmentation)))
    }
}

pub const METHODS: &[Entry] = &[
    simclr::ENTRY,
    moco_v2::ENTRY,
    moco_v3::ENTRY,
    byol::ENTRY,
    simsiam::ENTRY,
    barlow_twins::ENTRY,
    vicreg::ENTRY,
    swav::ENTRY,
    dino::ENTRY,
    w_mse::ENTRY,
    ressl::ENTRY,
    nnclr::ENTRY,
    dcl::DCL,
    dcl::DCLW,
    relic::ENTRY,
    mec::ENTRY,
    corinfomax::ENTRY,
    mmcr::ENTRY,
    emp_ssl::ENTRY,
    simdino::ENTRY,
    tico::ENTRY,
    mae::ENTRY,
    i_jepa::ENTRY,
    supcon::ENTRY,
    supervised::ENTRY,
];

/// # Errors
/// When there is no method of this name; the hint lists them.
pub fn find(name: &str) -> Result<&'static Entry> {
    METHODS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = METHODS.iter().map(|entry| entry.name).collect();
        Error::usage(format!("unknown method {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })
}

fn from_settings<M: Method + for<'a> Deserialize<'a> + 'static>(table: &toml::Table) -> Result<Box<dyn Method>> {
    let method: M = table
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| Error::usage(format!("[method_settings]: {}", error.message())))?;
    method.settings().iter().try_for_each(|(key, value)| check_range(key, value))?;
    Ok(Box::new(method))
}

/// What the names of hyper-parameters say of their values, in all methods alike.
fn check_range(key: &str, value: &toml::Value) -> Result<()> {
    const LARGEST_LAYER: i64 = 1 << 17;
    const LARGEST_QUEUE: i64 = 1 << 20;
    let counts = ["_dim", "_depth", "_layers", "_heads", "prototypes", "classes", "targets", "sk_iters"];
    let (fits, expected) = match value {
        toml::Value::Integer(count) if counts.iter().any(|end| key.ends_with(end)) => {
            ((1..=LARGEST_LAYER).contains(count), format!("1 to {LARGEST_LAYER}"))
        }
        toml::Value::Integer(rows) if key == "queue_size" => {
            ((0..=LARGEST_QUEUE).contains(rows), format!("0 to {LARGEST_QUEUE}"))
        }
        toml::Value::Integer(count) => (*count >= 0, "at least 0".into()),
        toml::Value::Float(number) if key.contains("temperature") || key.starts_with("eps") => {
            (*number > 0.0 && number.is_finite(), "a number above 0".into())
        }
        toml::Value::Float(number) if key.ends_with("_tau") => ((0.0..=1.0).contains(number), "0 to 1".into()),
        toml::Value::Float(number) => (number.is_finite(), "a number".into()),
        _ => (true, String::new()),
    };
    if fits { Ok(()) } else { Err(Error::usage(format!("[method_settings]: {key} is {value}, expected {expected}"))) }
}

fn to_settings<M: Serialize>(method: &M) -> toml::Table {
    toml::Table::try_from(method).expect("hyper-parameters are plain numbers")
}

/// Losses are computed in f32 or better, whatever the network's precision.
fn full_precision(x: &Tensor) -> Tensor {
    match x.kind() {
        Kind::BFloat16 | Kind::Half => x.to_kind(Kind::Float),
        _ => x.shallow_clone(),
    }
}

/// The mean cross-entropy of column i of `[n, n]` logits in row i.
fn own_of_batch(logits: &Tensor) -> Tensor {
    let own = Tensor::arange(logits.size()[0], (Kind::Int64, logits.device()));
    logits.cross_entropy_loss(&own, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}

/// The labels, which `method` cannot do without.
fn expect_labels<T>(method: &str, labels: Option<T>) -> Result<T> {
    labels.ok_or_else(|| {
        Error::usage(format!("{method}: the images have no labels"))
            .hint("name images with labels, such as a folder of folders of images, or choose a method without them")
    })
}

//! What a diagnosis is made from: features of stages, checkpoints and sides.

use indexmap::IndexMap;
use lethe_data::error::Result;
use ndarray::{Array2, Array3, ArrayView2, Axis};

/// The features of one checkpoint. A stage is asked for when it is needed, so that one stage is in memory as float64.
pub trait CheckpointFeatures {
    /// Path of the checkpoint.
    fn path(&self) -> &str;

    /// Epochs trained, where that is known.
    fn epoch(&self) -> Option<u32>;

    /// The features of a stage.
    ///
    /// # Errors
    /// When they cannot be read, or are not finite.
    fn stage(&self, stage: usize) -> Result<StageFeatures>;

    /// The method's own loss for each batch of training images and of unseen ones, where it can be taken.
    fn losses(&self) -> Option<&[Vec<f64>; 2]> {
        None
    }
}

/// The features of one stage.
pub struct StageFeatures {
    pub train: SideFeatures,
    pub unseen: Option<SideFeatures>,
    /// What needs more than features.
    pub extra: Extra,
}

/// The features of one side, float64.
pub struct SideFeatures {
    /// Random views, `[q, n, d]` with q >= 2, row-major.
    pub views: Array3<f64>,
    /// The images as they are, `[n, d]`.
    pub plain: Option<Array2<f64>>,
}

/// Numbers of a stage that only its encoder, or labelled images of another kind, can give.
#[derive(Default)]
pub struct Extra {
    /// By protocol: whether each image is classified right, on training images and on unseen ones.
    pub right: [IndexMap<&'static str, Vec<bool>>; 2],
    /// Whether each image of another labelled set is classified right.
    pub transfer: Option<Vec<bool>>,
    pub batch_gradient_norm_squared: Option<f64>,
}

/// What is known of the images of one side.
#[derive(Debug, Clone, Default)]
pub struct SideImages {
    /// One for each image; empty where they have none.
    pub names: Vec<String>,
    /// One for each image, an index into `classes`.
    pub labels: Option<Vec<u32>>,
    pub classes: Vec<String>,
    /// How often each image is in its side beside itself, where copies were looked for.
    pub copies: Option<Vec<usize>>,
}

impl SideFeatures {
    /// The first two views of every image, `[2 n, d]`: row i and row i + n.
    pub fn pairs(&self) -> ArrayView2<'_, f64> {
        let (_, n, d) = self.views.dim();
        self.views.slice_axis(Axis(0), (0..2).into()).into_shape_with_order((2 * n, d)).expect("two whole views")
    }

    /// All views, `[q n, d]`: row v n + i is view v of image i.
    pub fn all_views(&self) -> ArrayView2<'_, f64> {
        let (q, n, d) = self.views.dim();
        self.views.view().into_shape_with_order((q * n, d)).expect("contiguous")
    }

    /// Images.
    pub fn images(&self) -> usize {
        self.views.dim().1
    }
}

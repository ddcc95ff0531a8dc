//! Says from features where, since when and how strongly an encoder has memorised its training images. This crate needs
//! no libtorch: features come from any framework.
//!
//! [`diagnose()`] takes the features of checkpoints, stages and two sides of images, and gives a [`Diagnosis`]:
//! numbers, typed [`Findings`], and what was found in [`words`]. [`report`] makes a page of it.

pub mod records; // lines of the files of a training and a repair
pub mod features; // what a diagnosis is made from
mod reference; // beside an encoder that never saw the images
mod cell; // the numbers of one stage of one checkpoint
mod stage_distances; // what tells training images from unseen ones
mod per_image; // numbers of single images
mod numbers; // measures of a stage
mod onset; // since when
mod images; // which images
mod choice; // which checkpoint
pub mod findings; // typed answers
mod diagnosis; // the content of diagnosis.json
mod conclusions; // from numbers to findings
pub mod words; // findings in sentences
mod diagnose; // from features to a diagnosis
pub mod feature_files; // from files of any tool
mod pooled; // several runs together
pub mod report; // the page
#[cfg(feature = "cli")]
pub mod cli; // the commands that need no tensor

pub use cell::{Cell, CheckpointRow, LossGap, Side};
pub use choice::{Choice, Earliest, Judged};
pub use conclusions::conclude;
pub use diagnose::{ControlFrom, Diagnosed, LEAST_IMAGES, Settings, Subject, diagnose};
pub use diagnosis::{Control, CopiesFound, Diagnosis, Relation, Sides};
pub use features::{CheckpointFeatures, Extra, SideFeatures, SideImages, StageFeatures};
pub use findings::{ControlKind, Findings};
pub use images::{ImageScore, ImageScores};
pub use lethe_measures::{Estimate, Memorisation};
pub use onset::Onset;
pub use per_image::{KNN, MEMORISATION_GAP, TRANSFER, VIEW_RETRIEVAL};
pub use pooled::{Pooled, Score, pool};
pub use reference::AgainstReference;

//! Whether images that should be others are the same: what [`copies`](crate::copies) finds, as an error or a warning.

use super::Dataset;
use crate::copies;
use crate::error::{Error, Result};
use crate::progress;

/// Expects the images that `flag` names to be others than those of `training`; says where a few are the same.
///
/// # Errors
/// When more than a hundredth are.
pub fn expect_others(training: &dyn Dataset, others: &dyn Dataset, flag: &str) -> Result<()> {
    let found = copies::find(training, others);
    let left_out = found.left_out(training.len(), None).map_err(|many| {
        Error::usage(format!("{flag}: {many}")).hint("name images of the same kind that the encoder has not seen")
    })?;
    if let Some(pair) = found.pairs.first() {
        let (count, images) = (left_out.unseen.len(), found.unseen_images);
        progress::say(&format!(
            "warning: {flag}: {count} of {images} images are copies of training images: {} is {}",
            pair.unseen_name, pair.train_name
        ));
    }
    Ok(())
}

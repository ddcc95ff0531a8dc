//! The measures of a stage on each side.

use indexmap::IndexMap;
use lethe_data::error::{Error, Result};
use lethe_data::progress;
use lethe_measures::{Groups, MEASURES, Measure, MeasureError, Needs, Rows, affordable, knn};

use super::Side;
use super::features::{SideFeatures, StageFeatures};
use super::per_image::Right;

/// Measures of rows at stages before the last: they take less than the images' way through the encoder. The last stage,
/// which decides, takes all that are affordable.
const EARLY: [&str; 7] = ["coding_rate", "rankme", "effective_rank", "stable_rank", "nesum", "alpha_req", "uniformity"];

/// All numbers of a stage, on training images and on unseen ones. `labels` are those of each side.
pub(crate) fn sides(
    features: &StageFeatures,
    labels: [Option<&[u32]>; 2],
    right: &[Right; 2],
    eps2: f64,
    last: bool,
    place: &str,
) -> Result<(Side, Option<Side>)> {
    let side = |features: &SideFeatures, which: usize| {
        let accuracy = right[which].iter().map(|(name, right)| ((*name).to_owned(), knn::accuracy(right))).collect();
        Ok::<Side, Error>(Side { accuracy, ..measure(features, labels[which], eps2, last, place)? })
    };
    let unseen = features.unseen.as_ref().map(|unseen| side(unseen, 1)).transpose()?;
    Ok((side(&features.train, 0)?, unseen))
}

/// All measures but the accuracies. A measure that cannot be taken is left out with the reason.
fn measure(features: &SideFeatures, labels: Option<&[u32]>, eps2: f64, last: bool, place: &str) -> Result<Side> {
    let failed = |error: MeasureError| Error::failed(format!("{place}: {error}"));
    let mut side = Side::default();
    let mut skipped = IndexMap::new();
    let mut take = |into: &mut IndexMap<String, f64>, rows: &Rows, wanted: &[&Measure]| {
        for measure in wanted {
            match (measure.of)(rows) {
                Ok(value) => drop(into.insert(measure.name.into(), value)),
                Err(error) => {
                    if !is_expected(error) {
                        progress::say(&format!("warning: {place}: no {}: {error}", measure.name));
                    }
                    skipped.insert(measure.name.to_owned(), error.to_string());
                }
            }
        }
    };
    let named =
        |wanted: &dyn Fn(&Measure) -> bool| MEASURES.iter().filter(|measure| wanted(measure)).collect::<Vec<_>>();
    let is_rate = |measure: &Measure| measure.needs == Needs::Groups || measure.name == "coding_rate";
    if let Some(plain) = &features.plain {
        let groups = labels.map_or(Groups::None, Groups::Labels);
        let rows = Rows::new(plain.view(), groups, eps2).map_err(failed)?;
        let of_rows = named(&|measure| measure.needs == Needs::Rows && (last || EARLY.contains(&measure.name)));
        let (of_rows, _) = affordable(&of_rows, plain.nrows(), plain.ncols());
        let rows =
            if last { rows.in_one_pass(of_rows.iter().any(|measure| measure.name == "silhouette")) } else { rows };
        take(&mut side.measures, &rows, &of_rows);
        if labels.is_some() {
            take(&mut side.by_class, &rows, &named(&is_rate));
        }
    }
    let views = features.views.dim().0;
    let pairs = Rows::new(features.pairs(), Groups::Views(2), eps2).map_err(failed)?;
    let of_views = |views: usize| {
        named(&|measure| is_rate(measure) || matches!(measure.needs, Needs::Views(least) if least <= views))
    };
    let of_pairs = of_views(2);
    take(&mut side.by_pair, &pairs, &of_pairs);
    let of_more: Vec<&Measure> =
        of_views(views).into_iter().filter(|measure| of_pairs.iter().all(|pair| pair.name != measure.name)).collect();
    if !of_more.is_empty() {
        let all = Rows::new(features.all_views(), Groups::Views(views), eps2).map_err(failed)?;
        take(&mut side.by_pair, &all, &of_more);
    }
    side.skipped = skipped;
    Ok(side)
}

/// Errors of a narrow stage, a small set, or a stage whose features have signs.
fn is_expected(error: MeasureError) -> bool {
    use MeasureError::{Negative, TooFewDirections, TooFewRows};
    matches!(error, TooFewDirections { .. } | TooFewRows { .. } | Negative { .. })
}

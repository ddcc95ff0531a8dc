//! Which images are memorised: a score for each image, `images.csv`, and the lists that a page shows.

use std::path::Path;

use lethe_data::error::{Error, Result};
use lethe_data::files;
use lethe_data::rng::{self, Purpose};
use lethe_measures::ViewDistances;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::features::{SideImages, StageFeatures};
use super::stage_distances::StageDistances;

/// Images of a list.
const LISTED: usize = 16;
/// Rows whose neighbours are searched at a time.
const BLOCK: usize = 512;

/// A training image and how strongly it is memorised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageScore {
    /// As the data set names it.
    pub name: String,
    /// How far the views lie closer together than those of an average unseen image, over the mean distance between
    /// unseen images. Where there is a control, its own score is subtracted.
    pub score: f64,
    /// How often the image is in the training set beside this one, where copies were looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<usize>,
}

/// The scores of all images of one checkpoint.
pub struct ImageScores {
    stages: Vec<String>,
    /// Training images, then unseen ones.
    rows: Vec<ImageRow>,
    train: usize,
}

struct ImageRow {
    name: String,
    /// One for each stage.
    scores: Vec<f64>,
    /// The same with the control's subtracted.
    calibrated: Option<Vec<f64>>,
    /// The nearest image of the other side by the last stage, and the cosine.
    neighbour: Option<(usize, f64)>,
    copies: Option<usize>,
}

impl ImageScores {
    /// From the distances of every stage, those of the control where there is one, and the last stage's features.
    pub(crate) fn of(
        stages: &[String],
        told: &[StageDistances],
        control: Option<&[StageDistances]>,
        last: &StageFeatures,
        images: [&SideImages; 2],
    ) -> Self {
        let (train, unseen) = (told[0].distances.train.len(), told[0].distances.unseen.len());
        let of_stages = |told: &[StageDistances]| told.iter().map(|found| scores(&found.distances)).collect::<Vec<_>>();
        let (own, control) = (of_stages(told), control.map(of_stages));
        let neighbours = neighbours(last);
        let row = |i: usize| {
            let (side, at) = if i < train { (0, i) } else { (1, i - train) };
            let scores: Vec<f64> = own.iter().map(|stage| stage[i]).collect();
            let calibrated =
                control.as_ref().map(|control| scores.iter().zip(control).map(|(own, c)| own - c[i]).collect());
            ImageRow {
                name: images[side].names.get(at).cloned().unwrap_or_else(|| at.to_string()),
                scores,
                calibrated,
                neighbour: neighbours.as_ref().map(|found| found[side][at]),
                copies: images[side].copies.as_ref().map(|copies| copies[at]),
            }
        };
        Self { stages: stages.to_vec(), rows: (0..train + unseen).map(row).collect(), train }
    }

    /// The training images with the highest scores at a stage, highest first, and as many drawn at random.
    pub(crate) fn lists(&self, stage: usize, seed: u64) -> [Vec<ImageScore>; 2] {
        let score = |row: &ImageRow| row.calibrated.as_ref().unwrap_or(&row.scores)[stage];
        let list = |order: &[usize]| {
            let rows = order.iter().take(LISTED).map(|&i| &self.rows[i]);
            rows.map(|row| ImageScore { name: row.name.clone(), score: score(row), copies: row.copies }).collect()
        };
        let mut order: Vec<usize> = (0..self.train).collect();
        order.shuffle(&mut rng::keyed(seed, Purpose::Sample, 0, 0, 1));
        let random = list(&order);
        order.sort_unstable();
        order.sort_by(|&a, &b| score(&self.rows[b]).total_cmp(&score(&self.rows[a])));
        [list(&order), random]
    }

    /// Writes `images.csv`: a row for each image with its side, name, score at each stage, the calibrated ones where
    /// there is a control, the nearest image of the other side, and its copies within its own side.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        let failed = |error: csv::Error| Error::failed(format!("cannot be written as CSV: {error}")).at(path);
        let mut table = csv::Writer::from_writer(Vec::new());
        let calibrated = self.rows.first().is_some_and(|row| row.calibrated.is_some());
        let mut header = vec!["side".to_owned(), "name".to_owned()];
        header.extend(self.stages.iter().map(|stage| format!("score.{stage}")));
        if calibrated {
            header.extend(self.stages.iter().map(|stage| format!("calibrated.{stage}")));
        }
        header.extend(["nearest_on_other_side", "cosine", "copies"].map(str::to_owned));
        table.write_record(&header).map_err(failed)?;
        for (i, row) in self.rows.iter().enumerate() {
            let of_training = i < self.train;
            let mut record = vec![if of_training { "train" } else { "unseen" }.to_owned(), row.name.clone()];
            record.extend(row.scores.iter().chain(row.calibrated.iter().flatten()).map(|score| format!("{score:.6}")));
            let other = row.neighbour.map(|(at, cosine)| {
                let at = if of_training { self.train + at } else { at };
                [self.rows[at].name.clone(), format!("{cosine:.6}")]
            });
            record.extend(other.unwrap_or_default());
            record.push(row.copies.map_or_else(String::new, |copies| copies.to_string()));
            table.write_record(&record).map_err(failed)?;
        }
        let bytes = table.into_inner().map_err(|error| failed(error.into_error().into()))?;
        files::write_atomically(path, &bytes)
    }
}

/// A score for each image, training images first: the mean distance of unseen images less the image's own, over the
/// distance between unseen images.
fn scores(found: &ViewDistances) -> Vec<f64> {
    let mean = found.unseen.iter().sum::<f64>() / found.unseen.len() as f64;
    let scale = if found.between > 0.0 { found.between } else { 1.0 };
    found.train.iter().chain(&found.unseen).map(|distance| (mean - distance) / scale).collect()
}

/// For each image of either side the nearest of the other side by the cosine of centred plain features, and the cosine.
fn neighbours(features: &StageFeatures) -> Option<[Vec<(usize, f64)>; 2]> {
    let train = features.train.plain.as_ref()?;
    let unseen = features.unseen.as_ref()?.plain.as_ref()?;
    let total = (train.nrows() + unseen.nrows()) as f64;
    let centre: Array1<f64> = (train.sum_axis(Axis(0)) + unseen.sum_axis(Axis(0))) / total;
    let unit = |z: &Array2<f64>| {
        let mut z = z - &centre;
        for mut row in z.rows_mut() {
            let length = row.dot(&row).sqrt();
            if length > 0.0 {
                row /= length;
            }
        }
        z.mapv(|value| value as f32)
    };
    let (train, unseen) = (unit(train), unit(unseen));
    Some([nearest(train.view(), unseen.view()), nearest(unseen.view(), train.view())])
}

fn nearest(asked: ArrayView2<f32>, bank: ArrayView2<f32>) -> Vec<(usize, f64)> {
    let mut found = Vec::with_capacity(asked.nrows());
    for block in asked.axis_chunks_iter(Axis(0), BLOCK) {
        for row in block.dot(&bank.t()).rows() {
            let (at, cosine) = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("images");
            found.push((at, f64::from(*cosine)));
        }
    }
    found
}

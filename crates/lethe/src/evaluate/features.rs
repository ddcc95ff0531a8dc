//! Features: the pooled maps of an encoder's stages, for every image of a data set.

use ndarray::{Array2, ArrayView2, s};
use tch::{Device, Kind, Tensor};

use super::Labelled;
use crate::encoders::{Encoder, Part};
use crate::error::{Error, Result};
use crate::loader::Loader;
use crate::native::torch;
use crate::nn::{Mode, Weights};
use crate::progress::Progress;

/// Pooled features, a stage at a time.
#[derive(Debug, Clone)]
pub struct Features {
    /// Images; a stage has `views * images` rows.
    pub images: usize,
    /// Name of the stage and `[views * images, d]`: row `v * images + i` is view v of image i, in the data's order.
    pub stages: Vec<(String, Array2<f32>)>,
    /// One an image, where the data have labels.
    pub labels: Option<Vec<u32>>,
}

impl Features {
    /// View `view` of all images, `[images, d]`, after the stage at `stage`.
    pub fn view(&self, stage: usize, view: usize) -> ArrayView2<'_, f32> {
        self.stages[stage].1.slice(s![view * self.images..(view + 1) * self.images, ..])
    }

    /// The first view of all images after the stage at `stage`, where there are labels.
    pub fn labelled(&self, stage: usize) -> Option<Labelled<'_>> {
        Some(Labelled { features: self.view(stage, 0), labels: self.labels.as_deref()? })
    }
}

/// One pass of a whole encoder in evaluation mode over `epoch` of `loader`, which has other draws of the views than any other
/// epoch, keeping the stages at `stages` (ascending); `progress` counts images. Where an image is broken the row, and its
/// label, are those of the one that the loader showed for it.
///
/// # Errors
/// Those of the loader; a feature that is not finite.
pub fn extract(
    encoder: &dyn Encoder,
    w: &Weights,
    loader: &Loader,
    epoch: u32,
    stages: &[usize],
    progress: &Progress,
) -> Result<Features> {
    let net = Part::whole(encoder);
    let device = w.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device());
    let mut shown = Vec::with_capacity(loader.dataset().len());
    // For each stage and view, the rows so far.
    let mut rows: Vec<Vec<Vec<f32>>> = vec![Vec::new(); stages.len()];
    for batch in loader.epoch(epoch, 0) {
        let batch = batch?;
        for (view, x) in batch.tensors(device, Kind::Float).iter().enumerate() {
            let pooled = tch::no_grad(|| net.represent_stages(w, x, Mode::Eval));
            for (rows, &stage) in rows.iter_mut().zip(stages) {
                let values = values(&pooled[stage])?;
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let image = at / net.stages()[stage].channels as usize;
                    return Err(not_finite(&net.stages()[stage].name, &loader.dataset().name(batch.indices[image])));
                }
                if rows.len() == view {
                    rows.push(Vec::new());
                }
                rows[view].extend(values);
            }
        }
        progress.advance(batch.indices.len() as u64);
        shown.extend(batch.indices);
    }
    let stages = stages
        .iter()
        .zip(rows)
        .map(|(&stage, rows)| {
            let stage = &net.stages()[stage];
            let shape = (rows.len() * shown.len(), stage.channels as usize);
            let rows = Array2::from_shape_vec(shape, rows.concat()).expect("one row an image and view");
            (stage.name.clone(), rows)
        })
        .collect();
    let labels = loader.dataset().labels().map(|labels| shown.iter().map(|&i| labels[i]).collect());
    Ok(Features { images: shown.len(), stages, labels })
}

fn values(x: &Tensor) -> Result<Vec<f32>> {
    let flat = x.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
    Vec::try_from(flat).map_err(torch)
}

fn not_finite(stage: &str, image: &str) -> Error {
    Error::failed(format!("the features of {stage} are not finite, first on image {image}"))
        .hint("the weights may be broken: look for NaN in the checkpoint")
}

/// The places of the stages that `text` asks for: `last`, `all`, or names with commas between; in the encoder's order.
///
/// # Errors
/// When the encoder has no stage of a name.
pub fn choose_stages(encoder: &dyn Encoder, text: &str) -> Result<Vec<usize>> {
    let names: Vec<&str> = encoder.stages().iter().map(|stage| stage.name.as_str()).collect();
    let mut chosen = match text {
        "all" => (0..names.len()).collect(),
        "last" => vec![names.len() - 1],
        _ => text
            .split(',')
            .map(|name| {
                names.iter().position(|known| *known == name.trim()).ok_or_else(|| {
                    Error::usage(format!("{} has no stage {:?}", encoder.spec(), name.trim()))
                        .hint(format!("all, last, or some of: {}", names.join(",")))
                })
            })
            .collect::<Result<Vec<usize>>>()?,
    };
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

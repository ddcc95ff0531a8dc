//! The flags of every command that shows images to an encoder.

use std::sync::Arc;

use tch::Device;

use crate::config;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::{Model, Sight};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::views::{Augmentation, Normalize};

#[derive(clap::Args)]
pub(super) struct ImageArgs {
    /// Mean and deviation: cifar10, cifar100, stl10, imagenet, .. or none [default: what the checkpoint remembers;
    /// imagenet for a foreign one]
    #[arg(long, value_name = "NAME")]
    pub(super) normalize: Option<String>,
    /// Side of the images in pixels [default: what the checkpoint remembers; that of small images, else 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) image_size: Option<u32>,
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub(super) batch_size: usize,
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// [default: all cores]
    #[arg(long, value_name = "N", value_parser = config::threads)]
    threads: Option<usize>,
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a number of at least 1".into())
}

impl ImageArgs {
    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(config::available_threads)
    }

    /// Sets the number of threads and gives the device.
    pub(super) fn start(&self) -> Result<Device> {
        config::use_threads(self.threads());
        config::device(&self.device)
    }

    /// How `model` is to be shown the images that `spec` opened.
    pub(super) fn sight(&self, model: &Model, data: &dyn Dataset, spec: &str) -> Result<Sight> {
        model.sight(data, spec, self.image_size, self.normalize.as_deref())
    }

    /// The images as they are, in order.
    pub(super) fn plain(&self, dataset: &Arc<dyn Dataset>, sight: &Sight) -> Result<Loader> {
        let augmentation = Augmentation::plain(sight.size, Normalize::named(&sight.normalize)?);
        let settings = LoaderSettings {
            batch_size: self.batch_size,
            order: Order::Sequential,
            threads: self.threads(),
            ..LoaderSettings::default()
        };
        Loader::new(Arc::clone(dataset), augmentation, settings)
    }
}

//! Batches of views, computed beside the training.
//!
//! What a batch holds is a function of (seed, epoch, its place in the epoch): the number of threads, the prefetch depth
//! and the batch an epoch is resumed at change when it is computed, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use image::RgbImage;
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::cuda;
use crate::data::{Dataset, Fault};
use crate::error::{Error, Result};
use crate::rng::{self, Purpose};
use crate::views::{Augmentation, Scratch, View};
use crate::{files, progress};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By (seed, epoch); images that do not fill the last batch are left out.
    Shuffled,
    /// The data's own; the last batch may be smaller.
    Sequential,
}

#[derive(Debug, Clone)]
pub struct LoaderSettings {
    pub batch_size: usize,
    pub order: Order,
    pub seed: u64,
    /// Whose draws the views are: with the same seed, what is [looked at](Purpose::Look) goes through other draws than what
    /// was trained on ([`Purpose::View`]).
    pub purpose: Purpose,
    /// 0 for one a processor.
    pub threads: usize,
    /// Batches computed ahead, at least 1.
    pub prefetch: usize,
    /// The part of the images that may be broken; unless it is 0, one image always may.
    pub bad_budget: f64,
}

impl Default for LoaderSettings {
    fn default() -> Self {
        Self {
            batch_size: 256,
            order: Order::Shuffled,
            seed: 0,
            purpose: Purpose::View,
            threads: 0,
            prefetch: 2,
            bad_budget: 0.001,
        }
    }
}

/// The views of some images.
pub struct Batch {
    /// The images shown, in order. Where a broken image was replaced this is its substitute, so that labels fit.
    pub indices: Vec<usize>,
    /// A random number of this batch, a function of (seed, epoch, place in the epoch).
    pub draw: u64,
    labels: Option<Vec<i64>>,
    /// For each view `[n, size, size, 3]`, f32 of the CPU.
    views: Vec<Tensor>,
}

impl Batch {
    /// One `[n, 3, size, size]` tensor a view, of its size, in channels-last memory format.
    pub fn tensors(&self, device: Device, kind: Kind) -> Vec<Tensor> {
        let channels_first = |view: &Tensor| view.permute([0, 3, 1, 2]);
        self.views.iter().map(|view| channels_first(&cuda::upload(view, device)).to_kind(kind)).collect()
    }

    /// The class of every image, where the data has classes.
    pub fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    /// The values of a view, `[n, size, size, 3]`.
    pub fn view(&self, view: usize) -> Vec<f32> {
        Vec::try_from(self.views[view].flatten(0, -1)).expect("f32 of the CPU")
    }
}

/// What a tensor of [`cuda::staging`] is filled through.
fn values_mut(tensor: &mut Tensor) -> &mut [f32] {
    // SAFETY: dense f32 of the CPU, of which there is no other handle, and whose any bits are numbers.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

/// Computes batches with its own threads.
pub struct Loader {
    shared: Arc<Shared>,
}

/// What the background threads need.
struct Shared {
    dataset: Arc<dyn Dataset>,
    augmentation: Augmentation,
    settings: LoaderSettings,
    pool: rayon::ThreadPool,
    /// By index, so that an image is listed once.
    bad: Mutex<BTreeMap<usize, Fault>>,
    cache: Cache,
}

impl Loader {
    /// # Errors
    /// A batch size of 0, or more than there are images to fill one shuffled batch.
    pub fn new(dataset: Arc<dyn Dataset>, augmentation: Augmentation, settings: LoaderSettings) -> Result<Self> {
        if settings.batch_size == 0 {
            return Err(Error::usage("batch size is 0, expected at least 1"));
        }
        if dataset.is_empty() {
            return Err(Error::usage("the data set has no images"));
        }
        if settings.order == Order::Shuffled && settings.batch_size > dataset.len() {
            return Err(Error::usage(format!(
                "batch size {} is more than the {} images of the data set",
                settings.batch_size,
                dataset.len()
            ))
            .hint(format!("pass --batch-size {} or less", dataset.len())));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.threads)
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|error| Error::failed(format!("cannot start {} loader threads: {error}", settings.threads)))?;
        let cache = Cache::new(dataset.len());
        let shared = Shared { dataset, augmentation, settings, pool, bad: Mutex::default(), cache };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.shared.dataset
    }

    pub fn batches_per_epoch(&self) -> usize {
        let (images, batch) = (self.shared.dataset.len(), self.shared.settings.batch_size);
        match self.shared.settings.order {
            Order::Shuffled => images / batch,
            Order::Sequential => images.div_ceil(batch),
        }
    }

    /// The batches of `epoch` from `first_batch` on. Work begins at once and ends when the result is dropped.
    pub fn epoch(&self, epoch: u32, first_batch: usize) -> Epoch {
        // One finished batch waits in the producer's hands, the others in the channel.
        let (sender, receiver) = sync_channel(self.shared.settings.prefetch.max(1) - 1);
        let stop = Arc::new(AtomicBool::new(false));
        let batches = first_batch..self.batches_per_epoch();
        let left = batches.len();
        let producer = {
            let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&stop));
            std::thread::spawn(move || shared.produce(epoch, batches, &stop, &sender))
        };
        Epoch { receiver: Some(receiver), producer: Some(producer), stop, left }
    }

    /// Every broken image met so far, sorted by name.
    pub fn bad_samples(&self) -> Vec<Fault> {
        self.shared.bad_samples()
    }

    /// Names the images that others stand in for.
    pub fn say_bad_samples(&self) {
        for bad in self.bad_samples() {
            progress::say(&format!("warning: another image stands in for {}: {}", bad.name, bad.reason));
        }
    }

    /// Writes [`Loader::bad_samples`] to `path`, one JSON object a line; nothing where there are none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn list_bad_samples(&self, path: &Path) -> Result<()> {
        let bad = self.bad_samples();
        if bad.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = bad.iter().filter_map(|sample| serde_json::to_string(sample).ok()).collect();
        files::write_atomically(path, (lines.join("\n") + "\n").as_bytes())
    }

    /// An error that ended an epoch, with the broken images listed in `path` where there are some.
    pub fn with_bad_samples(&self, error: Error, path: &Path) -> Error {
        match self.list_bad_samples(path) {
            Ok(()) if path.exists() => error.hint(format!("mend or remove the images that {} lists", path.display())),
            _ => error,
        }
    }
}

impl Shared {
    /// Computes `batches` of `epoch` in order and sends them, until an error or until nobody listens.
    fn produce(
        &self,
        epoch: u32,
        batches: std::ops::Range<usize>,
        stop: &AtomicBool,
        sender: &SyncSender<Result<Batch>>,
    ) {
        let order = self.order(epoch);
        let batch_size = self.settings.batch_size;
        for batch in batches {
            let indices = &order[batch * batch_size..order.len().min((batch + 1) * batch_size)];
            let batch = self.batch(epoch, batch as u64, indices, stop);
            let failed = batch.is_err();
            if stop.load(Ordering::Relaxed) || sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn order(&self, epoch: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.dataset.len()).collect();
        if self.settings.order == Order::Shuffled {
            order.shuffle(&mut rng::keyed(self.settings.seed, Purpose::Order, epoch, 0, 0));
        }
        order
    }

    fn batch(&self, epoch: u32, number: u64, indices: &[usize], stop: &AtomicBool) -> Result<Batch> {
        thread_local! {
            static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
        }
        let views = self.augmentation.views();
        let staging = |view: &View| {
            let (n, side) = (indices.len() as i64, i64::from(view.size));
            cuda::staging(&[n, side, side, 3])
        };
        let mut tensors: Vec<Tensor> = views.iter().map(staging).collect();
        let mut outs: Vec<Vec<&mut [f32]>> = indices.iter().map(|_| Vec::with_capacity(views.len())).collect();
        for (view, tensor) in views.iter().zip(&mut tensors) {
            for (outs, out) in outs.iter_mut().zip(values_mut(tensor).chunks_exact_mut(view.floats())) {
                outs.push(out);
            }
        }
        let shown = self.pool.install(|| {
            indices
                .par_iter()
                .zip(outs)
                .map(|(&index, outs)| {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(index);
                    }
                    SCRATCH.with_borrow_mut(|scratch| self.views_of(epoch, index, outs, scratch))
                })
                .collect::<Vec<Result<usize>>>()
        });
        // The budget comes first: many broken images are the cause, a missing substitute a consequence.
        self.check_budget()?;
        let indices = shown.into_iter().collect::<Result<Vec<usize>>>()?;
        let labels =
            self.dataset.labels().map(|labels| indices.iter().map(|&index| i64::from(labels[index])).collect());
        let draw = rng::keyed(self.settings.seed, Purpose::Loss, epoch, number, 0).random();
        Ok(Batch { indices, draw, labels, views: tensors })
    }

    /// Writes the views of image `index`, or of its substitute, and gives the index of the one shown.
    fn views_of(&self, epoch: u32, index: usize, outs: Vec<&mut [f32]>, scratch: &mut Scratch) -> Result<usize> {
        let (shown, fresh);
        let image = match self.cache.get(index) {
            Some(image) => {
                shown = index;
                image
            }
            None => {
                (shown, fresh) = self.decode(epoch, index)?;
                self.cache.keep(shown, &fresh);
                &fresh
            }
        };
        for (view, out) in outs.into_iter().enumerate() {
            let mut rng = rng::keyed(self.settings.seed, self.settings.purpose, epoch, index as u64, view as u32);
            self.augmentation.apply(image, view, &mut rng, scratch, out);
        }
        Ok(shown)
    }

    /// Image `index`, or where it is broken one drawn by (seed, epoch, index), and the index of the one it is.
    fn decode(&self, epoch: u32, index: usize) -> Result<(usize, RgbImage)> {
        const TRIES: usize = 64;
        let mut rng = rng::keyed(self.settings.seed, Purpose::Substitute, epoch, index as u64, 0);
        let mut candidate = index;
        for _ in 0..=TRIES {
            match self.dataset.image(candidate) {
                Ok(image) => return Ok((candidate, image)),
                Err(fault) => self.record(candidate, fault),
            }
            candidate = rng.random_range(0..self.dataset.len());
        }
        Err(Error::failed(format!(
            "{}: broken, and so are {TRIES} images drawn in its place",
            self.dataset.name(index)
        )))
    }

    fn record(&self, index: usize, fault: Fault) {
        self.bad.lock().expect("no holder panics").insert(index, fault);
    }

    fn bad_samples(&self) -> Vec<Fault> {
        let mut samples: Vec<Fault> = self.bad.lock().expect("no holder panics").values().cloned().collect();
        samples.sort();
        samples
    }

    fn check_budget(&self) -> Result<()> {
        let budget = self.settings.bad_budget;
        let images = self.dataset.len();
        let allowed = if budget > 0.0 { ((budget * images as f64) as usize).max(1) } else { 0 };
        let count = self.bad.lock().expect("no holder panics").len();
        if count <= allowed {
            return Ok(());
        }
        let first = self.bad_samples().swap_remove(0);
        let are = if count == 1 { "is" } else { "are" };
        Err(Error::failed(format!(
            "{count} of {images} images {are} broken, more than the {allowed} allowed (bad_budget {budget}); the first: {}: {}",
            first.name, first.reason
        ))
        .hint("mend or remove the broken images"))
    }
}

/// The batches of an epoch, in order.
pub struct Epoch {
    receiver: Option<Receiver<Result<Batch>>>,
    producer: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    left: usize,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let batch = self.receiver.as_ref()?.recv();
        let batch = batch.unwrap_or_else(|_| Err(Error::failed("internal error: a loader thread ended early")));
        self.left = if batch.is_ok() { self.left - 1 } else { 0 };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Drop for Epoch {
    /// Ends the work: whoever waits to send finds nobody listening, whoever computes stops at the next image.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.receiver = None;
        if let Some(producer) = self.producer.take() {
            // A panic there was reported by `next`.
            let _ = producer.join();
        }
    }
}

/// Decoded images kept in memory, until they fill it: decoding a small image takes longer than augmenting it.
struct Cache {
    images: Vec<OnceLock<Box<RgbImage>>>,
    used: AtomicUsize,
}

impl Cache {
    const BYTES: usize = 1 << 30;
    /// Larger images are so many bytes that few would fit.
    const MAX_IMAGE: usize = 3 * 128 * 128;

    fn new(images: usize) -> Self {
        Self { images: (0..images).map(|_| OnceLock::new()).collect(), used: AtomicUsize::new(0) }
    }

    fn get(&self, index: usize) -> Option<&RgbImage> {
        self.images[index].get().map(Box::as_ref)
    }

    fn keep(&self, index: usize, image: &RgbImage) {
        let bytes = image.as_raw().len();
        if bytes > Self::MAX_IMAGE || self.used.load(Ordering::Relaxed) + bytes > Self::BYTES {
            return;
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.images[index].set(Box::new(image.clone()));
    }
}

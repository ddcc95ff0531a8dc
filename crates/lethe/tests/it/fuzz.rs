//! Mutated files: whatever the bytes, an answer or an error, soon; never a panic, never an abort.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lethe::{checkpoint, feature_file};
use rayon::prelude::*;
use tempfile::TempDir;

use crate::golden;

/// A reader of files, the files whose mutants it gets, and its share of [`FILES`].
struct Target {
    name: &'static str,
    share: u64,
    /// Those above [`LARGE`] give one mutant in 64: a whole encoder takes a hundred times as long as a few tensors.
    seeds: fn() -> Vec<Vec<u8>>,
    /// The name a mutant gets, for readers that look at it.
    file: &'static str,
    /// Whether the mutant was read.
    read: fn(&Path) -> bool,
}

const TARGETS: &[Target] = &[
    Target {
        name: "zip checkpoint",
        share: 3,
        seeds: || checkpoints(&["seed.pth", "seed-resnet.pth"]),
        file: "f",
        read: read_checkpoint,
    },
    Target {
        name: "legacy checkpoint",
        share: 2,
        seeds: || checkpoints(&["seed-legacy.pth"]),
        file: "f",
        read: read_checkpoint,
    },
    Target {
        name: "safetensors",
        share: 3,
        seeds: || checkpoints(&["seed.safetensors", "resnet18-w1.safetensors"]),
        file: "f",
        read: |path| read_checkpoint(path) | read_features(path),
    },
    Target { name: ".npy", share: 3, seeds: arrays, file: "f.npy", read: read_features },
    Target { name: "image", share: 3, seeds: images, file: "f.jpg", read: read_image },
];

fn checkpoints(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| std::fs::read(golden::folder("checkpoints").join(name)).unwrap()).collect()
}

/// Features of every float type, in both orders, and labels.
fn arrays() -> Vec<Vec<u8>> {
    [("<f4", "False", 4), ("<f8", "True", 8), (">f4", "False", 4), ("<f2", "False", 2)]
        .map(|(kind, fortran, width)| npy(kind, fortran, "(3, 5)", 15 * width))
        .into_iter()
        .chain([npy("<i8", "False", "(15,)", 15 * 8)])
        .collect()
}

fn npy(kind: &str, fortran: &str, shape: &str, length: usize) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let header = format!("{header:117}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend((0..length).map(|i| if i % 2 == 0 { 0 } else { 3 }));
    bytes
}

/// A small image in every format; the name says JPEG, but content decides.
fn images() -> Vec<Vec<u8>> {
    use image::{ImageFormat, Rgb, RgbImage};
    let pixel = |x, y| Rgb([(x * 16) as u8, (y * 16) as u8, (x * y) as u8]);
    let image = RgbImage::from_fn(16, 12, pixel);
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP]
        .map(|format| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            image.write_to(&mut bytes, format).unwrap();
            bytes.into_inner()
        })
        .into()
}

const FILES: u64 = 300_000;
/// Bytes of a seed.
const LARGE: usize = 20_000;
const SLOWEST: Duration = Duration::from_secs(1);

/// Whether the tensors were read; only then is there an encoder to look for.
fn read_checkpoint(path: &Path) -> bool {
    let tensors = checkpoint::read_tensors(path);
    if tensors.is_ok() {
        let _ = checkpoint::open(path);
    }
    tensors.is_ok()
}

fn read_features(path: &Path) -> bool {
    let (features, labels) = (feature_file::read(path, None), feature_file::read_labels(path));
    features.is_ok() || labels.is_ok()
}

fn read_image(path: &Path) -> bool {
    let folder = path.parent().unwrap();
    lethe::data::open(folder.to_str().unwrap()).unwrap().image(0).is_ok()
}

/// A temporary folder in memory, where the system has one: thousands of files a second are written to it.
pub(crate) fn memory_folder() -> TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm"),
        false => tempfile::tempdir(),
    }
    .unwrap()
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for a release, shown by --nocapture")]
fn mutated_files_never_panic() {
    let folder = memory_folder();
    let shares: u64 = TARGETS.iter().map(|target| target.share).sum();
    let start = Instant::now();
    for target in TARGETS {
        let (large, small): (Vec<_>, Vec<_>) = (target.seeds)().into_iter().partition(|seed| seed.len() > LARGE);
        let (read, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
        let files = (FILES * target.share).div_ceil(shares);
        (0..files).into_par_iter().for_each(|i| {
            let seeds = if i % 64 == 0 && !large.is_empty() { &large } else { &small };
            let seed = &seeds[i as usize % seeds.len()];
            let bytes = Mutator::new(i).mutate(seed);
            let thread = rayon::current_thread_index().unwrap_or_default();
            let own = folder.path().join(format!("{}{thread}", target.name));
            std::fs::create_dir_all(&own).unwrap();
            let path = own.join(target.file);
            std::fs::write(&path, &bytes).unwrap();
            let start = Instant::now();
            let Ok(ok) = std::panic::catch_unwind(|| (target.read)(&path)) else {
                panic!("{} number {i} panics", target.name)
            };
            let took = start.elapsed();
            assert!(took < SLOWEST, "{} number {i} takes {took:?}", target.name);
            read.fetch_add(u64::from(ok), Ordering::Relaxed);
            slowest.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
        });
        let (read, slowest) = (read.into_inner(), slowest.into_inner());
        println!("{}: {files} files, {read} read, slowest {slowest} us, {:.1?} so far", target.name, start.elapsed());
        // Mutants that are all refused at once, or not at all, would test nothing.
        assert!((files / 100..files).contains(&read), "{}: {read} of {files} mutants were read", target.name);
    }
}

/// A plain mutator: flips, overwrites, inserts, removes, copies and swaps bytes, and plants numbers that break lengths.
struct Mutator(u64);

impl Mutator {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// xorshift64*.
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % below.max(1)
    }

    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];
        let mut bytes = seed.to_vec();
        for _ in 0..1 << self.next(4) {
            let (at, length) = (self.next(bytes.len()), 1 + self.next(16));
            let end = (at + length).min(bytes.len());
            match self.next(8) {
                0..=2 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(8),
                3 if !bytes.is_empty() => bytes[at] = self.next(256) as u8,
                4 => {
                    let number = NUMBERS[self.next(NUMBERS.len())].to_le_bytes();
                    let width = (1 << self.next(4)).min(bytes.len() - at.min(bytes.len()));
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
                5 => drop(bytes.splice(at..end, [])),
                6 => {
                    let copied = bytes[at..end].to_vec();
                    let to = self.next(bytes.len());
                    drop(bytes.splice(to..to, copied));
                }
                7 if self.next(8) == 0 => bytes.truncate(at),
                _ => bytes[at..end].reverse(),
            }
        }
        bytes
    }
}

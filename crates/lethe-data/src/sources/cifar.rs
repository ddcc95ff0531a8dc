//! CIFAR-10 and CIFAR-100 in their binary form: records of one or two label bytes and 3 x 32 x 32 bytes, plane by plane.
//!
//! Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use super::{Dataset, Fault, Source};
use crate::error::{At, Error, Result};

pub(super) const SOURCE: Source = Source {
    kind: "CIFAR binaries",
    takes: "a folder with data_batch_*.bin or train.bin (its training images), or one .bin file",
    example: "--data cifar-10-batches-bin --unseen cifar-10-batches-bin/test_batch.bin",
    recognises: |spec| {
        let path = Path::new(spec);
        (path.is_file() && is_bin(path)) || (path.is_dir() && !training_files(path).is_empty())
    },
    open: |spec| Ok(Arc::new(Cifar::open(Path::new(spec))?)),
    split: training_and_test,
};

/// Whether one is the training images and the other the test images of the same folder: their authors split them at random.
fn training_and_test(first: &str, second: &str) -> bool {
    let part = |spec: &str| -> Option<(PathBuf, bool)> {
        let path = Path::new(spec);
        if path.is_dir() {
            return (!training_files(path).is_empty()).then(|| Some((path.canonicalize().ok()?, false)))?;
        }
        let test = matches!(path.file_name()?.to_str()?, "test_batch.bin" | "test.bin");
        let known = test || is_training(path);
        (path.is_file() && known).then(|| Some((path.canonicalize().ok()?.parent()?.to_owned(), test)))?
    };
    matches!((part(first), part(second)), (Some((one, a)), Some((other, b))) if one == other && a != b)
}

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Ten,
    /// The coarse label comes first and is not used.
    Hundred,
}

impl Variant {
    fn label_bytes(self) -> usize {
        match self {
            Variant::Ten => 1,
            Variant::Hundred => 2,
        }
    }

    fn record(self) -> usize {
        self.label_bytes() + PIXELS
    }

    fn classes(self) -> Vec<String> {
        let names: &[&str] = match self {
            Variant::Ten => &CLASSES_10,
            Variant::Hundred => &CLASSES_100,
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// All images in memory: 3 kB each.
pub struct Cifar {
    variant: Variant,
    classes: Vec<String>,
    /// Each file with the index of its first image.
    files: Vec<(usize, PathBuf)>,
    records: Vec<u8>,
    labels: Vec<u32>,
}

impl Cifar {
    /// Reads one file, or the training files of a folder.
    ///
    /// # Errors
    /// A file that is not whole records, files of both variants, a label that is out of range.
    pub fn open(path: &Path) -> Result<Self> {
        let paths = if path.is_dir() { training_files(path) } else { vec![path.to_owned()] };
        let mut variant = None;
        let mut files = Vec::new();
        let mut records = Vec::new();
        let mut labels = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path).at(&path)?;
            let found = variant_of(&path, bytes.len())?;
            if *variant.get_or_insert(found) != found {
                return Err(Error::usage("CIFAR-10 and CIFAR-100 files in one folder").at(&path));
            }
            files.push((labels.len(), path.clone()));
            for (i, record) in bytes.chunks_exact(found.record()).enumerate() {
                let label = record[found.label_bytes() - 1];
                let classes = if found == Variant::Ten { 10 } else { 100 };
                if label >= classes {
                    return Err(Error::failed(format!("label {label} in record {i}, expected less than {classes}"))
                        .at(&path)
                        .hint("the file is damaged, or no CIFAR file"));
                }
                labels.push(u32::from(label));
            }
            records.extend(bytes);
        }
        let variant =
            variant.ok_or_else(|| Error::usage("no data_batch_*.bin or train.bin in this folder").at(path))?;
        Ok(Self { variant, classes: variant.classes(), files, records, labels })
    }
}

/// Which of the two a file of `size` bytes is.
fn variant_of(path: &Path, size: usize) -> Result<Variant> {
    let fits = |variant: Variant| size > 0 && size.is_multiple_of(variant.record());
    match (fits(Variant::Ten), fits(Variant::Hundred)) {
        (true, false) => Ok(Variant::Ten),
        (false, true) => Ok(Variant::Hundred),
        (true, true) if path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("batch")) => {
            Ok(Variant::Ten)
        }
        (true, true) => Ok(Variant::Hundred),
        (false, false) => Err(Error::failed(format!(
            "{size} bytes are not whole records of CIFAR-10 ({} bytes each) or CIFAR-100 ({})",
            Variant::Ten.record(),
            Variant::Hundred.record()
        ))
        .at(path)
        .hint("the file is cut short or no CIFAR file: compare it with `lethe data list`")),
    }
}

fn is_bin(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "bin")
}

/// `data_batch_*.bin` or `train.bin`, sorted.
fn training_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_training(path)).collect();
    files.sort();
    files
}

fn is_training(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    is_bin(path) && (name.starts_with("data_batch_") || name == "train.bin")
}

impl Dataset for Cifar {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn image(&self, i: usize) -> std::result::Result<RgbImage, Fault> {
        let record = &self.records[i * self.variant.record()..][self.variant.label_bytes()..][..PIXELS];
        let (red, rest) = record.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        let pixels = red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect();
        Ok(RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels).expect("32 x 32 x 3 bytes"))
    }

    fn name(&self, i: usize) -> String {
        let (first, path) = self.files.iter().rev().find(|(first, _)| *first <= i).expect("the first file begins at 0");
        format!("{}/{}", path.display(), i - first)
    }

    fn labels(&self) -> Option<&[u32]> {
        Some(&self.labels)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn normalization(&self) -> &'static str {
        match self.variant {
            Variant::Ten => "cifar10",
            Variant::Hundred => "cifar100",
        }
    }
}

const CLASSES_10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The fine labels.
#[rustfmt::skip]
const CLASSES_100: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

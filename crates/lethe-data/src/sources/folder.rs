//! A folder of images: `class/*.jpg` with labels, or flat without.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use walkdir::WalkDir;

use super::{Dataset, Encoding, Fault, Source, decode};
use crate::error::{Error, Result};

pub(super) const SOURCE: Source = Source {
    kind: "image folder",
    takes: "CLASS/*.jpg|jpeg|png|webp|bmp, or the images themselves without labels",
    example: "--data photos/train",
    recognises: |spec| Path::new(spec).is_dir(),
    open: |spec| Ok(Arc::new(Folder::open(Path::new(spec))?)),
    split: |_, _| false,
};

const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "bmp"];

/// Subfolders that are parts of a data set, not classes of one.
const SPLITS: &[&str] = &["train", "training", "test", "val", "valid", "validation", "unlabeled", "unlabelled"];

/// Images in the order of (class name, path), as torchvision's `ImageFolder` has them.
pub struct Folder {
    paths: Vec<PathBuf>,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
}

impl Folder {
    /// Lists the images of `root`. Hidden files and other endings are passed over; links are followed.
    ///
    /// # Errors
    /// No images; images both beside and within class folders; `train/` and `test/` in place of classes.
    pub fn open(root: &Path) -> Result<Self> {
        let unreadable = |error: std::io::Error| Error::usage(error.to_string()).at(root);
        let mut flat = Vec::new();
        let mut subfolders = Vec::new();
        for entry in std::fs::read_dir(root).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if is_hidden(&path) {
                continue;
            }
            if path.is_dir() {
                subfolders.push(path);
            } else if is_image(&path) && path.is_file() {
                flat.push(path);
            }
        }
        flat.sort();
        subfolders.sort();

        let mut paths = Vec::new();
        let mut labels = Vec::new();
        let mut classes = Vec::new();
        for subfolder in subfolders {
            let images = images_below(&subfolder)?;
            if !images.is_empty() {
                labels.extend(std::iter::repeat_n(classes.len() as u32, images.len()));
                classes.push(file_name(&subfolder));
                paths.extend(images);
            }
        }

        match (flat.is_empty(), paths.is_empty()) {
            (true, true) => Err(Error::usage("no images in this folder")
                .at(root)
                .hint(format!("expected CLASS/*.jpg or *.jpg; endings: {}", EXTENSIONS.join(", ")))),
            (false, true) => Ok(Self { paths: flat, labels: None, classes: Vec::new() }),
            (false, false) => Err(Error::usage(format!(
                "{} images beside folders of images, so it is unclear whether the folders are classes",
                flat.len()
            ))
            .at(root)
            .hint(format!("move {} away, or into a class folder", flat[0].display()))),
            (true, false) => {
                let is_split = |class: &String| SPLITS.contains(&class.to_lowercase().as_str());
                if classes.iter().all(is_split) {
                    return Err(Error::usage(format!("{} are parts of a data set, not classes", classes.join(", ")))
                        .at(root)
                        .hint(format!("pass one of them: {}", root.join(&classes[0]).display())));
                }
                Ok(Self { paths, labels: Some(labels), classes })
            }
        }
    }
}

/// The images under `folder` at any depth, sorted.
fn images_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path())) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_image(entry.path()) => images.push(entry.into_path()),
            Ok(_) => {}
            // A dangling link is no image.
            Err(error) if error.io_error().is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) => {}
            Err(error) => return Err(Error::usage(error.to_string())),
        }
    }
    Ok(images)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn is_hidden(path: &Path) -> bool {
    file_name(path).starts_with('.')
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Dataset for Folder {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn image(&self, i: usize) -> std::result::Result<RgbImage, Fault> {
        decode::read_image(&self.paths[i]).map_err(|reason| Fault { name: self.name(i), reason })
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].to_string_lossy().into_owned()
    }

    fn encoding(&self, i: usize) -> Option<Encoding> {
        Encoding::of_file(&decode::read(&self.paths[i]).ok()?)
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn normalization(&self) -> &'static str {
        "imagenet"
    }
}

//! Copies are found by their pixels, and others are not taken for copies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use lethe_data::copies::{Copies, Group, Kind, LeftOut, against, find, others, within};
use lethe_data::difference::{Of, differences};
use lethe_data::rng::{Purpose, keyed};
use lethe_data::{Dataset, open, sample};
use rand::RngExt;
use tempfile::TempDir;

/// Smooth colours of 32 x 32 pixels, a function of the seed and the number.
fn picture(seed: u64, number: u64) -> RgbImage {
    let mut rng = keyed(seed, Purpose::Sample, 0, number, 0);
    let coarse = RgbImage::from_fn(6, 6, |_, _| Rgb(rng.random()));
    resize(&coarse, 32, 32, FilterType::CatmullRom)
}

fn pictures(seed: u64, count: u64) -> Vec<RgbImage> {
    (0..count).map(|number| picture(seed, number)).collect()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Saves the images as `NAME/copy-000.ENDING` and opens them.
    fn save(&self, name: &str, ending: &str, images: &[RgbImage]) -> Arc<dyn Dataset> {
        self.save_with(name, ending, images, |image, path| image.save(path).expect("saved"))
    }

    fn save_with(
        &self,
        name: &str,
        ending: &str,
        images: &[RgbImage],
        save: impl Fn(&RgbImage, &Path),
    ) -> Arc<dyn Dataset> {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (i, image) in images.iter().enumerate() {
            save(image, &folder.join(format!("copy-{i:03}.{ending}")));
        }
        open(folder.to_str().expect("UTF-8")).expect("images")
    }

    fn save_jpeg(&self, name: &str, quality: u8, images: &[RgbImage]) -> Arc<dyn Dataset> {
        self.save_with(name, "jpg", images, |image, path| {
            let file = std::fs::File::create(path).expect("a file");
            JpegEncoder::new_with_quality(file, quality).encode_image(image).expect("saved");
        })
    }
}

/// The pairs as (train, unseen), expecting one kind.
fn places(copies: &Copies, kind: Kind) -> Vec<(usize, usize)> {
    assert!(copies.pairs.iter().all(|pair| pair.kind == kind), "{:?}", copies.pairs);
    copies.pairs.iter().map(|pair| (pair.train, pair.unseen)).collect()
}

fn one_to_one(count: usize) -> Vec<(usize, usize)> {
    (0..count).map(|i| (i, i)).collect()
}

#[test]
fn equal_pixels_are_found_in_any_format_under_any_name() {
    let folder = Folder::new();
    let images = pictures(1, 20);
    let train = folder.save("train", "png", &images);
    let bmp = folder.save("bmp", "bmp", &images);
    let webp = folder.save("webp", "webp", &images); // without loss
    let alpha = folder.save_with("alpha", "png", &images, |image, path| {
        let rgba = RgbaImage::from_fn(32, 32, |x, y| {
            let Rgb([r, g, b]) = *image.get_pixel(x, y);
            Rgba([r, g, b, (8 * x) as u8])
        });
        rgba.save(path).expect("saved");
    });
    let mut records = Vec::new();
    for image in &images {
        records.push(3);
        (0..3).for_each(|c| records.extend(image.pixels().map(|pixel| pixel.0[c])));
    }
    std::fs::write(folder.path("data_batch_1.bin"), records).expect("written");
    let cifar = open(folder.path("data_batch_1.bin").to_str().expect("UTF-8")).expect("CIFAR");
    for other in [&train, &bmp, &webp, &alpha, &cifar] {
        for (first, second) in [(&train, other), (other, &train)] {
            let copies = find(first.as_ref(), second.as_ref());
            assert_eq!(places(&copies, Kind::Exact), one_to_one(20));
            assert_eq!((copies.train_images, copies.unseen_images), (20, 20));
        }
    }
    let copies = find(train.as_ref(), bmp.as_ref());
    assert_eq!((copies.pairs[3].train_name.clone(), copies.pairs[3].unseen_name.clone()), (train.name(3), bmp.name(3)));
    let unseen = folder.save("unseen", "png", &pictures(2, 20));
    let none = find(train.as_ref(), unseen.as_ref());
    assert_eq!((none.pairs.len(), none.train_images, none.unseen_images), (0, 20, 20));
}

#[test]
fn generated_images_are_found_in_files() {
    let folder = Folder::new();
    let shapes = open("shapes:n=30,size=32,seed=4").expect("shapes");
    let images: Vec<RgbImage> = (10..20).map(|i| shapes.image(i).expect("drawn")).collect();
    let saved = folder.save("saved", "bmp", &images);
    let copies = find(shapes.as_ref(), saved.as_ref());
    assert_eq!(places(&copies, Kind::Exact), (0..10).map(|i| (i + 10, i)).collect::<Vec<_>>());
}

#[test]
fn pictures_saved_again_or_enlarged_are_found() {
    let folder = Folder::new();
    let images = pictures(1, 40);
    let train = folder.save("train", "png", &images);
    let enlarged = |by: u32, filter| -> Vec<RgbImage> {
        images.iter().map(|image| resize(image, by * 32, by * 32, filter)).collect()
    };
    let (nearest, cubic) = (enlarged(2, FilterType::Nearest), enlarged(2, FilterType::CatmullRom));
    let copies = [
        folder.save_jpeg("jpeg-95", 95, &images),
        folder.save_jpeg("jpeg-75", 75, &images),
        folder.save("nearest", "png", &nearest),
        folder.save("cubic", "png", &cubic),
        folder.save("seven", "png", &enlarged(7, FilterType::Triangle)),
        folder.save_jpeg("cubic-jpeg", 75, &cubic),
    ];
    for copy in &copies {
        for (first, second) in [(&train, copy), (copy, &train)] {
            assert_eq!(places(&find(first.as_ref(), second.as_ref()), Kind::Near), one_to_one(40), "{}", copy.name(0));
        }
    }
    // Where the first of two copies is not the exact one, the exact one is the copy.
    let both = [&images[..], &nearest].concat();
    let both = folder.save("both", "png", &both);
    let copies = find(both.as_ref(), folder.save("nearest-bmp", "bmp", &nearest).as_ref());
    let exact: Vec<_> = copies.pairs.iter().filter(|pair| pair.kind == Kind::Exact).collect();
    assert_eq!(
        exact.iter().map(|pair| (pair.train, pair.unseen)).collect::<Vec<_>>(),
        (0..40).map(|i| (i + 40, i)).collect::<Vec<_>>()
    );
    // But the other one has its copy too, so that nothing of it stays.
    assert_eq!(copies.left_out(80, Some(80)).expect("allowed").train, (0..80).collect::<Vec<_>>());
}

#[test]
fn images_with_little_in_them_are_copies_only_where_they_are_equal() {
    let folder = Folder::new();
    let flat = |level: u8| RgbImage::from_pixel(32, 32, Rgb([level; 3]));
    let noisy = |level: u8, seed: u64| {
        let mut rng = keyed(seed, Purpose::Sample, 0, 0, 0);
        RgbImage::from_fn(32, 32, |_, _| Rgb([0; 3].map(|_: u8| level - rng.random_range(0..4))))
    };
    // A slope of light with another small spot on it each.
    let slope = |at: u32| {
        RgbImage::from_fn(32, 32, |x, y| {
            let spot = (at..at + 4).contains(&x) && (at..at + 4).contains(&y);
            Rgb(if spot { [250, 40, 40] } else { [60 + 4 * y as u8; 3] })
        })
    };
    let train = [flat(0), flat(200), noisy(200, 1), slope(4), slope(12)];
    let unseen = [flat(255), flat(201), noisy(200, 2), slope(20), flat(200)];
    let (train, unseen) = (folder.save("train", "png", &train), folder.save("unseen", "png", &unseen));
    assert_eq!(places(&find(train.as_ref(), unseen.as_ref()), Kind::Exact), [(1, 4)]);
    let enlarged = folder.save("enlarged", "png", &[RgbImage::from_pixel(64, 64, Rgb([200; 3]))]);
    assert_eq!(find(train.as_ref(), enlarged.as_ref()).pairs, []);
}

#[test]
fn many_equal_images_are_all_named_without_every_pair_of_them() {
    let folder = Folder::new();
    let black = vec![RgbImage::new(16, 16); 300];
    let (train, unseen) = (folder.save("train", "bmp", &black), folder.save("unseen", "png", &black));
    let copies = find(train.as_ref(), unseen.as_ref());
    assert!(copies.pairs.len() < 600);
    let LeftOut { train, unseen } = copies.left_out(300, Some(300)).expect("allowed");
    assert_eq!([train, unseen], [(0..300).collect::<Vec<_>>(), (0..300).collect()]);
}

#[test]
fn a_broken_image_is_no_copy_and_ends_nothing() {
    let folder = Folder::new();
    let images = pictures(1, 5);
    let train = folder.save("train", "png", &images);
    folder.save("unseen", "png", &images);
    for (name, content) in [("a.jpg", "<!doctype html>"), ("b.png", "")] {
        std::fs::write(folder.path("train").join(name), content).expect("written");
        std::fs::write(folder.path("unseen").join(name), content).expect("written");
    }
    let reopened = |name: &str| open(folder.path(name).to_str().expect("UTF-8")).expect("images");
    let (with_broken, unseen) = (reopened("train"), reopened("unseen"));
    assert_eq!(train.len() + 2, with_broken.len());
    let copies = find(with_broken.as_ref(), unseen.as_ref());
    assert_eq!((copies.pairs.len(), copies.train_images, copies.unseen_images), (5, 5, 5));
    assert_eq!(within(with_broken.as_ref()), []);
    assert_eq!(differences(with_broken.as_ref(), unseen.as_ref()), []);
}

#[test]
fn a_hundredth_of_a_side_is_left_out_and_more_is_refused() {
    let folder = Folder::new();
    let images = pictures(1, 200);
    let train = folder.save("train", "png", &images);
    let share = |copies: usize| {
        let others = [&images[50..50 + copies], &pictures(2, (200 - copies) as u64)].concat();
        let unseen = folder.save(&format!("unseen-{copies}"), "bmp", &others);
        find(train.as_ref(), unseen.as_ref())
    };
    assert_eq!(share(0).left_out(200, None), Ok(LeftOut::default()));
    let two = share(2);
    assert_eq!(two.left_out(200, None), Ok(LeftOut { train: vec![50, 51], unseen: vec![0, 1] }));
    // A copy that the diagnosis does not look at is no image of its training side.
    assert_eq!(two.left_out(51, Some(2)), Ok(LeftOut { train: vec![50], unseen: vec![0, 1] }));
    assert!(two.left_out(199, Some(1)).is_err() && two.left_out(60, None).is_err());
    let three = share(3);
    let refused = three.left_out(200, None).expect_err("too many");
    let (first, second) = (train.name(50), folder.path("unseen-3/copy-000.bmp"));
    let said = format!("3 of 200 images are copies of training images: {} is {first}", second.display());
    assert_eq!(refused.to_string(), said);
    assert!(three.left_out(200, Some(3)).is_ok());
    // One unseen image that was trained on many times over takes much of the training side.
    let often = folder.save("often", "png", &[vec![images[0].clone(); 9], pictures(3, 191)].concat());
    let once = folder.save("once", "png", &[vec![images[0].clone()], pictures(4, 199)].concat());
    let copies = find(often.as_ref(), once.as_ref());
    assert_eq!(copies.left_out(200, Some(9)).expect("allowed").train, (0..9).collect::<Vec<_>>());
    assert!(copies.left_out(200, None).is_err());
}

#[test]
fn training_images_that_are_looked_at_come_first() {
    let whole = open("shapes:n=50").expect("shapes");
    let names = |data: &dyn Dataset| (0..data.len()).map(|i| data.name(i)).collect::<Vec<_>>();
    let looked_at = sample(Arc::clone(&whole), 12, 7);
    for (others, images) in [(0, 12), (20, 32), (38, 50), (39, 50), (usize::MAX, 50)] {
        let asked = names(against(&whole, 12, others, 7).as_ref());
        assert_eq!(asked.len(), images);
        assert_eq!(asked[..12], names(looked_at.as_ref()));
        let mut distinct = asked;
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), images);
    }
    assert_eq!(names(against(&whole, 50, 20, 7).as_ref()), names(sample(Arc::clone(&whole), 50, 7).as_ref()));
    assert_eq!((others("300"), others("all")), (Ok(300), Ok(usize::MAX)));
    assert!(others("-1").is_err() && others("some").is_err());
}

#[test]
fn copies_within_a_data_set_are_grouped() {
    let folder = Folder::new();
    let images = pictures(1, 12);
    let enlarged = resize(&images[4], 64, 64, FilterType::CatmullRom);
    let black = RgbImage::new(8, 8);
    let all = [&images[..], &[images[2].clone(), images[2].clone(), enlarged, black.clone(), black]].concat();
    let data = folder.save("data", "png", &all);
    let group = |images: &[usize], kind| Group { images: images.to_vec(), kind };
    let expected = [group(&[2, 12, 13], Kind::Exact), group(&[4, 14], Kind::Near), group(&[15, 16], Kind::Exact)];
    assert_eq!(within(data.as_ref()), expected);
}

#[test]
fn sides_that_differ_as_files_are_told() {
    let folder = Folder::new();
    let images = pictures(1, 40);
    let told = |train: &Arc<dyn Dataset>, unseen: &Arc<dyn Dataset>| {
        let found = differences(train.as_ref(), unseen.as_ref()).into_iter();
        found.map(|difference| (difference.of, difference.to_string())).collect::<Vec<_>>()
    };
    let png = folder.save("png", "png", &images);
    let jpeg = folder.save_jpeg("jpeg", 75, &images);
    assert_eq!(told(&png, &png), []);
    let of = |of: Of, text: &str| (of, text.to_owned());
    assert_eq!(told(&jpeg, &png), [of(Of::Format, "training images are jpeg, unseen ones png")]);
    let large: Vec<RgbImage> = images.iter().map(|image| resize(image, 48, 64, FilterType::Nearest)).collect();
    let large = folder.save("large", "png", &large);
    let size = of(Of::Size, "training images are 48x64 pixels, unseen ones 32x32 pixels");
    assert_eq!(told(&large, &png), [size]);
    for quality in [1, 30, 60, 90, 95, 100] {
        let other = folder.save_jpeg(&format!("jpeg-{quality}"), quality, &images);
        let text = format!("training images are JPEG of quality 75, unseen ones JPEG of quality {quality}");
        assert_eq!(told(&jpeg, &other), [of(Of::Compression, &text)]);
    }
    // A few of another kind among many are nothing, half of them are.
    let mixed = |name: &str, few: usize| {
        folder.save(name, "png", &images[few..]);
        folder.save_jpeg(name, 75, &images[..few])
    };
    assert_eq!(told(&jpeg, &mixed("few", 36)), []);
    let halves = "training images are jpeg, unseen ones jpeg (50 %), png (50 %)";
    assert_eq!(told(&jpeg, &mixed("half", 20)), [of(Of::Format, halves)]);
    let shapes = open("shapes:n=40,size=32").expect("shapes");
    assert_eq!(told(&shapes, &png), [of(Of::Format, "training images are pixels, unseen ones png")]);
    // Two files of each tell nothing.
    let two = |name: &str, ending: &str| folder.save(name, ending, &images[..2]);
    assert_eq!(
        told(&two("two", "png"), &two("two-bmp", "bmp")),
        [of(Of::Format, "training images are png, unseen ones bmp")]
    );
}

/// On CIFAR-10 itself, where `LETHE_CIFAR` names it: nearly all false alarms would be here.
#[test]
fn photographs_that_differ_are_no_copies() {
    let Some(cifar) = std::env::var_os("LETHE_CIFAR") else { return };
    let part = |split: &str| open(&format!("{}/{split}@n=2000", Path::new(&cifar).display())).expect("CIFAR-10");
    let (train, test) = (part("train"), part("test"));
    let copies = find(train.as_ref(), test.as_ref());
    assert_eq!((copies.train_images, copies.unseen_images), (2000, 2000));
    assert_eq!(copies.pairs, []);
    let folder = Folder::new();
    let images: Vec<RgbImage> = (0..500).map(|i| test.image(i).expect("an image")).collect();
    let again = folder.save_jpeg("again", 75, &images);
    let copies = find(test.as_ref(), again.as_ref());
    assert_eq!(copies.left_out(2000, Some(2000)).expect("allowed").unseen, (0..500).collect::<Vec<_>>());
    assert_eq!(copies.pairs.iter().filter(|pair| test.name(pair.train) != test.name(pair.unseen)).count(), 0);
}

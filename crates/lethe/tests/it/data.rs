//! Sources of images, good and bad.

use std::collections::BTreeMap;
use std::path::Path;

use image::ImageFormat;
use lethe::data::shapes::{Label, Shapes, ShapesSettings, factors};
use lethe::data::{self, Dataset};
use lethe::views::Normalize;

use crate::support::{self, text};

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
    std::fs::write(path, bytes).expect("a temporary file");
}

fn png(path: &Path, colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
    image::RgbImage::from_pixel(4, 3, image::Rgb(colour)).save(path).expect("a temporary file");
}

fn refused(spec: &str) -> String {
    data::open(spec).err().unwrap_or_else(|| panic!("{spec} was opened")).to_string()
}

#[test]
fn a_folder_of_classes_is_sorted_and_labelled() {
    let folder = support::temp_dir();
    let root = folder.path();
    png(&root.join("dog/b.png"), [2; 3]);
    png(&root.join("dog/a.PNG"), [1; 3]);
    png(&root.join("cat/deep/er/c.webp"), [3; 3]);
    png(&root.join("ant/d.bmp"), [4; 3]);
    png(&root.join("dog/.hidden.png"), [9; 3]);
    write(&root.join("dog/notes.txt"), b"no image");
    write(&root.join("readme.md"), b"no image");
    std::fs::create_dir(root.join("empty")).expect("a temporary folder");
    let dataset = data::open(text(root)).expect("a folder of images");
    assert_eq!(dataset.classes(), ["ant", "cat", "dog"]);
    assert_eq!(dataset.labels(), Some(&[0, 1, 2, 2][..]));
    let names: Vec<String> = (0..4).map(|i| dataset.name(i)[text(root).len() + 1..].to_owned()).collect();
    assert_eq!(names, ["ant/d.bmp", "cat/deep/er/c.webp", "dog/a.PNG", "dog/b.png"]);
    assert_eq!(dataset.image(3).expect("an image").get_pixel(3, 2).0, [2; 3]);
}

#[test]
fn a_flat_folder_has_no_labels() {
    let folder = support::temp_dir();
    png(&folder.path().join("b.png"), [2; 3]);
    png(&folder.path().join("a.png"), [1; 3]);
    let dataset = data::open(text(folder.path())).expect("a folder of images");
    assert_eq!((dataset.len(), dataset.labels(), dataset.classes().len()), (2, None, 0));
    assert_eq!(dataset.image(0).expect("an image").get_pixel(0, 0).0, [1; 3]);
}

#[test]
fn folders_that_cannot_be_meant_are_refused() {
    let folder = support::temp_dir();
    let root = text(folder.path());
    assert_eq!(refused(root), format!("{root}: no images in this folder"));
    assert_eq!(refused("/no/such/place"), "/no/such/place: no such folder, file or data set");
    write(&folder.path().join("notes.txt"), b"no image");
    assert_eq!(refused(root), format!("{root}: no images in this folder"));
    let notes = format!("{root}/notes.txt");
    assert_eq!(refused(&notes), format!("{notes}: expected a folder of images, or a CIFAR .bin file"));
    png(&folder.path().join("train/x/a.png"), [1; 3]);
    png(&folder.path().join("test/x/a.png"), [1; 3]);
    assert_eq!(refused(root), format!("{root}: test, train are parts of a data set, not classes"));
    png(&folder.path().join("a.png"), [1; 3]);
    assert!(refused(root).contains("1 images beside folders of images"), "{}", refused(root));
    let known = data::open("cifar10").err().expect("it is not there");
    assert_eq!(known.exit.code(), 2);
    assert!(known.hint.expect("a hint").contains("cs.toronto.edu"));
}

#[test]
fn broken_files_are_faults_with_reasons() {
    let folder = support::temp_dir();
    let root = folder.path();
    let cifar = std::fs::read(support::jpegs().join("train/cat/0001.jpg")).expect("an image");
    write(&root.join("1-whole.jpg"), &cifar);
    write(&root.join("2-cut.jpg"), &cifar[..cifar.len() / 2]);
    write(&root.join("3-empty.jpg"), b"");
    write(&root.join("4-text.png"), b"this is no image at all");
    // A PNG header that claims 60,000 x 60,000 pixels.
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bomb.extend([0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60, 8, 2, 0, 0, 0, 0, 0, 0, 0]);
    write(&root.join("5-huge.png"), &bomb);
    let dataset = data::open(text(root)).expect("a folder of images");
    assert_eq!(dataset.image(0).expect("an image").dimensions(), (32, 32));
    for i in 1..5 {
        let fault = dataset.image(i).expect_err("a fault");
        assert_eq!(fault.name, dataset.name(i));
        assert!(!fault.reason.is_empty() && !fault.reason.contains('\n'), "{fault:?}");
    }
}

/// Half an image is none: a decoder may fill what is missing with grey, and nobody would know.
#[test]
fn images_cut_anywhere_are_faults() {
    let folder = support::temp_dir();
    let path = folder.path().join("a.jpg");
    let picture = image::RgbImage::from_fn(40, 40, |x, y| image::Rgb([x * x, y * x, y * 13].map(|v| v as u8)));
    let mut whole = Vec::new();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).expect("memory takes all");
        whole.push((format, file.into_inner()));
    }
    // The end marker of a thumbnail in the header is not that of the image; bytes after the image do no harm.
    let mut thumbnailed = whole[0].1.clone();
    drop(thumbnailed.splice(2..2, *b"\xff\xe1\x00\x0aThumb\x00\xff\xd9"));
    let trailed = [&thumbnailed[..], b"more"].concat();
    whole.push((ImageFormat::Jpeg, thumbnailed));
    write(&path, &trailed);
    let dataset = data::open(text(folder.path())).expect("a folder of images");
    assert!(dataset.image(0).is_ok());
    for (format, bytes) in whole {
        write(&path, &bytes);
        let shown = dataset.image(0).expect("an image");
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 300).chain([bytes.len() - 1]) {
            write(&path, &bytes[..length]);
            let other = dataset.image(0).is_ok_and(|found| found != shown);
            assert!(!other, "{format:?}: {length} of {} bytes", bytes.len());
        }
    }
}

/// Whatever a file holds, it is an image or a fault.
#[test]
fn mutated_files_never_end_the_program() {
    let folder = support::temp_dir();
    let path = folder.path().join("a.jpg");
    let jpeg = std::fs::read(support::jpegs().join("train/cat/0002.jpg")).expect("an image");
    let picture = image::load_from_memory(&jpeg).expect("an image");
    let mut seeds = vec![jpeg];
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).expect("memory takes all");
        seeds.push(file.into_inner());
    }
    write(&path, &seeds[0]);
    let dataset = data::open(text(folder.path())).expect("a folder of images");
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below
    };
    let mut faults = 0;
    for round in 0..2000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..1 + random(4) {
            let place = random(bytes.len());
            match random(3) {
                0 => bytes[place] = random(256) as u8,
                1 => bytes.truncate(place.max(1)),
                _ => bytes[place] ^= 1 << random(8),
            }
        }
        write(&path, &bytes);
        faults += usize::from(dataset.image(0).is_err());
    }
    assert!((200..2000).contains(&faults), "{faults}");
}

/// `n` records whose first pixel tells their place.
fn records(label_bytes: usize, n: usize, label: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..n {
        let start = bytes.len();
        bytes.resize(start + label_bytes + 3072, 7);
        bytes[start + label_bytes - 1] = label(i);
        bytes[start + label_bytes] = i as u8; // red
        bytes[start + label_bytes + 1024 + 33] = 200; // green of row 1, column 1
    }
    bytes
}

#[test]
fn cifar_binaries_are_read() {
    let folder = support::temp_dir();
    let root = folder.path();
    write(&root.join("data_batch_1.bin"), &records(1, 3, |i| i as u8));
    write(&root.join("data_batch_2.bin"), &records(1, 2, |_| 9));
    write(&root.join("test_batch.bin"), &records(1, 1, |_| 5));
    let training = data::open(text(root)).expect("CIFAR-10");
    assert_eq!(training.labels(), Some(&[0, 1, 2, 9, 9][..]));
    assert_eq!((training.classes()[9].as_str(), training.normalization()), ("truck", "cifar10"));
    let image = training.image(4).expect("an image");
    assert_eq!((image.get_pixel(0, 0).0, image.get_pixel(1, 1).0), ([1, 7, 7], [7, 200, 7]));
    assert!(training.name(4).ends_with("data_batch_2.bin/1"), "{}", training.name(4));
    let test = data::open(text(&root.join("test_batch.bin"))).expect("one file");
    assert_eq!(test.labels(), Some(&[5][..]));

    let hundred = root.join("hundred");
    write(&hundred.join("train.bin"), &records(2, 2, |_| 99));
    let hundred = data::open(text(&hundred)).expect("CIFAR-100");
    assert_eq!((hundred.classes()[99].as_str(), hundred.normalization()), ("worm", "cifar100"));
    assert_eq!(hundred.image(1).expect("an image").get_pixel(0, 0).0[0], 1);
}

#[test]
fn damaged_cifar_binaries_are_refused() {
    let folder = support::temp_dir();
    let path = folder.path().join("test_batch.bin");
    write(&path, &records(1, 2, |_| 0)[..5000]);
    let error = refused(text(&path));
    let sizes = "5000 bytes are not whole records of CIFAR-10 (3073 bytes each) or CIFAR-100 (3074)";
    assert_eq!(error, format!("{}: {sizes}", path.display()));
    write(&path, b"");
    assert!(refused(text(&path)).contains("0 bytes are not whole records"));
    write(&path, &records(1, 2, |i| 10 * i as u8));
    assert!(refused(text(&path)).ends_with("label 10 in record 1, expected less than 10"), "{}", refused(text(&path)));
    write(&folder.path().join("data_batch_1.bin"), &records(1, 1, |_| 0));
    write(&folder.path().join("train.bin"), &records(2, 1, |_| 0));
    assert!(refused(text(folder.path())).ends_with("CIFAR-10 and CIFAR-100 files in one folder"));
}

#[test]
fn parts_under_one_seed_share_no_image() {
    let names = |spec: &str| -> Vec<String> {
        let dataset = data::open(spec).expect("a part");
        assert_eq!(dataset.labels().expect("labels").len(), dataset.len());
        (0..dataset.len()).map(|i| dataset.name(i)).collect()
    };
    let (first, second) = (names("shapes:n=50@n=20"), names("shapes:n=50@skip=20"));
    assert_eq!((first.len(), second.len()), (20, 30));
    let mut all = [first.clone(), second].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 50);
    assert_eq!(names("shapes:n=50@n=20,skip=0,seed=0"), first);
    assert_ne!(names("shapes:n=50@n=20,seed=1"), first);
    let dataset = data::open("shapes:n=50@n=5,skip=3").expect("a part");
    let whole = data::open("shapes:n=50").expect("shapes");
    let place: usize = dataset.name(2)["shapes/".len()..].parse().expect("a number");
    assert_eq!(dataset.labels().expect("labels")[2], whole.labels().expect("labels")[place]);
    assert_eq!(dataset.image(2), whole.image(place));

    for (spec, expected) in [
        ("shapes:n=50@n=51", "@n=51: asks for 51 images after the first 0, of 50"),
        ("shapes:n=50@n=0", "@n=0: asks for 0 images after the first 0, of 50"),
        ("shapes:n=50@skip=50", "@skip=50: asks for 0 images after the first 50, of 50"),
        ("shapes:n=50@m=3", "@m=3: unknown key \"m\""),
        ("shapes:n=50@n=3,n=4", "@n=3,n=4: n is given twice"),
        ("shapes:n=50@n=-3", "@n=-3: n is \"-3\", expected a whole number"),
        ("shapes:n=0", "shapes:n=0: n is 0, expected 1 to 100000000"),
        ("shapes:size=4", "shapes:size=4: size is 4, expected 8 to 1024 pixels"),
        ("shapes:spurious=1.5", "shapes:spurious=1.5: spurious is 1.5, expected 0 to 1"),
        ("shapes:split=val", "shapes:split=val: split is \"val\", expected train or test"),
        ("shapes:5", "shapes:5: expected key=value, found \"5\""),
    ] {
        assert_eq!(refused(spec), expected);
    }
}

#[test]
fn the_causes_of_shapes_are_as_the_model_says() {
    let settings = ShapesSettings { n: 20_000, spurious: 0.7, ..ShapesSettings::default() };
    let all: Vec<_> = (0..settings.n).map(|i| factors(&settings, i)).collect();
    let part = |count: usize| count as f64 / settings.n as f64;
    // Own by choice, or by the chance of one in ten.
    let own_colour = part(all.iter().filter(|f| f.colour == f.shape).count());
    assert!((own_colour - (0.7 + 0.3 / 10.0)).abs() < 0.015, "{own_colour}");
    assert!((part(all.iter().filter(|f| f.own).count()) - 0.7).abs() < 0.015);
    assert!(all.iter().filter(|f| f.own).all(|f| f.colour == f.shape && f.texture == f.shape));
    let mut classes: BTreeMap<u32, usize> = BTreeMap::new();
    all.iter().for_each(|f| *classes.entry(f.shape).or_default() += 1);
    assert!(classes.len() == 10 && classes.values().all(|&count| (1800..2200).contains(&count)), "{classes:?}");
    // Position and light know nothing of the label: equal means by class, within 5 standard errors.
    for shape in 0..10 {
        let own: Vec<_> = all.iter().filter(|f| f.shape == shape).collect();
        let mean = |of: fn(&data::shapes::Factors) -> f32| own.iter().map(|f| of(f)).sum::<f32>() / own.len() as f32;
        assert!(mean(|f| f.x).abs() < 0.025 && (mean(|f| f.light) - 0.9).abs() < 0.025);
    }

    // The test split breaks the correlation, and shares no image with the other.
    let test = ShapesSettings::parse("shapes:n=20000,split=test").expect("a specification");
    let other: Vec<_> = (0..test.n).map(|i| factors(&test, i)).collect();
    let own_texture = part(other.iter().filter(|f| f.texture == f.shape).count());
    assert!((own_texture - 0.1).abs() < 0.015, "{own_texture}");
    assert!(all.iter().zip(&other).all(|(a, b)| a.rotation != b.rotation));
}

/// Classes of continuous causes are as likely as each other, and the images are the same whatever is asked about them.
#[test]
fn labels_tell_the_cause_they_are_asked_for() {
    let whole = data::open("shapes:n=4000,size=8,spurious=0").expect("shapes");
    for label in Label::ALL {
        let asked = data::open(&format!("shapes:n=4000,size=8,spurious=0,label={}", label.name())).expect("shapes");
        assert_eq!(asked.image(17), whole.image(17));
        assert_eq!(asked.classes(), label.classes());
        let mut counts = vec![0usize; label.classes().len()];
        asked.labels().expect("labels").iter().for_each(|&class| counts[class as usize] += 1);
        let equal = 4000 / counts.len();
        // Five standard deviations of a binomial count.
        let allowed = (5.0 * (equal as f64).sqrt()) as usize;
        assert!(counts.iter().all(|count| count.abs_diff(equal) < allowed), "{label:?}: {counts:?}");
        let settings = ShapesSettings { n: 4000, spurious: 0.0, ..ShapesSettings::default() };
        let own = asked.labels().expect("labels");
        let first = (0..4000).find(|&i| own[i] == 0).map(|i| factors(&settings, i)).expect("one of every class");
        assert!(
            match label {
                Label::Position => first.x < 0.0 && first.y < 0.0,
                Label::Scale => (0.45..0.5125).contains(&first.scale),
                Label::Light => (0.6..0.75).contains(&first.light),
                Label::Colour => first.colour == 0,
                _ => true,
            },
            "{label:?}: {first:?}"
        );
    }
    let names = "shape, rotation, scale, colour, texture, position, light, light-direction, phase";
    assert_eq!(refused("shapes:label=size"), format!("shapes:label=size: label is \"size\", expected one of {names}"));
}

/// Redrawn with one cause changed, an image changes where that cause acts: shape and colour inside, texture outside.
#[test]
fn shapes_are_drawn_and_repeat() {
    let settings = ShapesSettings { n: 60, ..ShapesSettings::default() };
    let shapes = Shapes::new(settings).expect("shapes");
    for i in 0..60 {
        let image = shapes.draw(i);
        assert_eq!(image.dimensions(), (32, 32));
        assert_eq!(image, Shapes::new(settings).expect("shapes").draw(i));
        // Some pixels are more colourful than the grey background, except of the white ones.
        let coloured = image.pixels().filter(|p| p.0.iter().max().unwrap() - p.0.iter().min().unwrap() > 20).count();
        let white = shapes.factors(i).colour == 8;
        assert!(white || (20..700).contains(&coloured), "{i}: {coloured} of {:?}", shapes.factors(i));
    }
    let longer = Shapes::new(ShapesSettings { n: 100, ..settings }).expect("shapes");
    assert_eq!(longer.draw(59), shapes.draw(59));
}

/// The statistics that `--normalize shapes` uses.
#[test]
fn shapes_have_the_mean_and_deviation_they_are_normalised_by() {
    let shapes = Shapes::new(ShapesSettings::default()).expect("shapes");
    let (mut sum, mut squares, mut count) = ([0.0f64; 3], [0.0f64; 3], 0.0);
    for i in 0..shapes.len() {
        for pixel in shapes.draw(i).pixels() {
            for (channel, &byte) in pixel.0.iter().enumerate() {
                let value = f64::from(byte) / 255.0;
                sum[channel] += value;
                squares[channel] += value * value;
            }
            count += 1.0;
        }
    }
    let mean = sum.map(|sum| sum / count);
    let std: Vec<f64> = (0..3).map(|c| (squares[c] / count - mean[c] * mean[c]).sqrt()).collect();
    let known = Normalize::named(shapes.normalization()).expect("a known name");
    for channel in 0..3 {
        let near = |a: f64, b: f32| (a - f64::from(b)).abs() < 0.01;
        assert!(
            near(mean[channel], known.mean[channel]) && near(std[channel], known.std[channel]),
            "mean {mean:?}, std {std:?}"
        );
    }
}

#[test]
fn data_list_shows_every_set_and_kind() {
    let table = support::lethe_ok(&["data", "list"]);
    let json: serde_json::Value = serde_json::from_str(&support::lethe_ok(&["data", "list", "--json"])).expect("JSON");
    for name in ["cifar10", "cifar100", "stl10", "tiny-imagenet"] {
        assert!(table.contains(name), "{table}");
        let sets = json["datasets"].as_array().expect("a list");
        let set = sets.iter().find(|set| set["name"] == name).expect("it is listed");
        assert!(set["archive_md5"].as_str().is_some_and(|md5| md5.len() == 32));
    }
    assert_eq!(json["kinds"].as_array().expect("a list").len(), data::SOURCES.len());
}

#[test]
fn made_shapes_are_an_image_folder_with_their_causes() {
    let folder = support::temp_dir();
    let dir = folder.path().join("made");
    let arguments = ["data", "make-shapes", text(&dir), "--n", "40", "--size", "16", "--seed", "5", "--json"];
    let json: serde_json::Value = serde_json::from_str(&support::lethe_ok(&arguments)).expect("JSON");
    assert_eq!((json["images"].as_u64(), json["spurious"].as_f64()), (Some(40), Some(0.9)));
    let csv = std::fs::read_to_string(dir.join("factors.csv")).expect("the causes");
    assert_eq!(csv.lines().count(), 41);
    let made = data::open(text(&dir)).expect("an image folder");
    let direct = Shapes::new(ShapesSettings::parse("shapes:n=40,size=16,seed=5").expect("a specification"));
    let direct = direct.expect("shapes");
    assert_eq!(made.len(), 40);
    for (i, row) in csv.lines().skip(1).enumerate() {
        let cells: Vec<&str> = row.split(',').collect();
        let place = (0..40).find(|&place| made.name(place).ends_with(cells[0])).expect("the file of the row");
        assert_eq!(made.image(place).expect("an image"), direct.draw(i));
        let label = made.labels().expect("labels")[place] as usize;
        assert_eq!(made.classes()[label], cells[1]);
    }
    let error = support::lethe_err(&arguments, 2);
    assert!(error.contains("expected a folder that does not exist yet or is empty"), "{error}");
    support::lethe_err(&["data", "make-shapes", text(&folder.path().join("x")), "--n", "0"], 2);
}

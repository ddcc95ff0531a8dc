//! Images that a run holds out: which they are, and how they are found again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use lethe_data::held_out::HeldOut;
use lethe_data::{Dataset, open};

fn names(data: &dyn Dataset) -> Vec<String> {
    (0..data.len()).map(|i| data.name(i)).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `a/0.bmp ..`, as many of each class.
fn save(folder: &Path, classes: &[(&str, u8)]) {
    for (number, &(class, count)) in classes.iter().enumerate() {
        std::fs::create_dir_all(folder.join(class)).expect("a folder");
        for i in 0..count {
            let image = RgbImage::from_pixel(4, 4, Rgb([number as u8, i, 0]));
            image.save(folder.join(format!("{class}/{i}.bmp"))).expect("saved");
        }
    }
}

#[test]
fn every_class_gives_the_same_share() {
    let folder = tempfile::tempdir().expect("a folder");
    let sizes = [("a", 50), ("b", 30), ("c", 19), ("d", 1)];
    save(folder.path(), &sizes);
    let data = text(folder.path());
    let whole = open(data).expect("images");
    let drawn = |n: usize, seed: u64| HeldOut::draw(data, whole.as_ref(), n, seed).names;
    let mut often = vec![0; 100];
    for seed in 0..200 {
        for n in [1, 4, 20, 99, 100] {
            let names = drawn(n, seed);
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), n);
            for (class, size) in sizes {
                let of_class = names.iter().filter(|name| name.starts_with(class)).count() as f64;
                assert!((of_class - n as f64 * f64::from(size) / 100.0).abs() < 1.0, "{n}: {of_class} of {class}");
            }
        }
        let places = HeldOut::draw(data, whole.as_ref(), 20, seed).places(data, whole.as_ref());
        places.into_iter().for_each(|i| often[i] += 1);
    }
    // Each image has a chance of a fifth: 40 of 200 times, give or take five deviations.
    assert!(often.iter().all(|&times| (12..=68).contains(&times)), "{often:?}");
    assert_eq!(drawn(20, 3), drawn(20, 3));
    assert_ne!(drawn(20, 3), drawn(20, 4));
    assert!(drawn(0, 3).is_empty());
}

#[test]
fn the_two_parts_are_opened_from_the_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let images = folder.path().join("images");
    save(&images, &[("a", 12), ("b", 8)]);
    let list = folder.path().join("held_out.json");
    let whole = open(text(&images)).expect("images");
    let held_out = HeldOut::draw(text(&images), whole.as_ref(), 5, 0);
    held_out.write(&list).expect("written");
    assert_eq!(HeldOut::read(&list).expect("read"), held_out);
    assert!(held_out.names.iter().all(|name| name.len() <= "a/11.bmp".len()), "{:?}", held_out.names);

    let opened = |spec: &str| open(spec).expect("images");
    let unseen = opened(text(&list));
    let training = opened(&format!("{}@part=training", text(&list)));
    assert_eq!((unseen.len(), training.len()), (5, 15));
    assert_eq!(unseen.classes(), whole.classes());
    let both: BTreeSet<String> = names(unseen.as_ref()).into_iter().chain(names(training.as_ref())).collect();
    assert_eq!(both, names(whole.as_ref()).into_iter().collect());
    for i in 0..5 {
        let place = names(whole.as_ref()).iter().position(|name| *name == unseen.name(i)).expect("one of them");
        assert_eq!(unseen.image(i), whole.image(place));
        assert_eq!(unseen.labels().expect("labels")[i], whole.labels().expect("labels")[place]);
    }
    // Parts of parts.
    assert_eq!(opened(&format!("{}@n=3", text(&list))).len(), 3);
    assert_eq!(opened(&format!("{}@part=training,n=4,skip=11", text(&list))).len(), 4);
    let refused = |spec: String| open(&spec).err().expect("refused").what;
    assert_eq!(refused(format!("{}@part=test", text(&list))), "@part=test: part is \"test\", expected training");
    assert!(refused(format!("{}@part=training", text(&images))).contains("is no held_out.json of a run"));
}

#[test]
fn images_are_found_where_they_were_moved_and_missed_where_they_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    save(&old, &[("a", 12), ("b", 8)]);
    let whole = open(text(&old)).expect("images");
    let held_out = HeldOut::draw(text(&old), whole.as_ref(), 5, 0);
    let list = folder.path().join("held_out.json");
    held_out.write(&list).expect("written");
    assert!(held_out.is_of(text(&old)) && held_out.is_of(&format!("{}/@n=3", text(&old))));
    save(&new, &[("a", 12), ("b", 8)]);
    assert!(!held_out.is_of(text(&new)));
    std::fs::remove_dir_all(&old).expect("removed");

    assert!(held_out.is_of(text(&new)));
    let moved = |new: &Path| -> Arc<dyn Dataset> { open(text(new)).expect("images") };
    let parts = held_out.split(text(&new), moved(&new)).expect("the same images");
    assert_eq!((parts.held_out.len(), parts.training.len()), (5, 15));
    let error = open(text(&list)).err().expect("its data are gone");
    assert!(error.what.contains("old: no such folder"), "{error}");
    assert!(error.hint.expect("a hint").contains("change `data` in held_out.json"));
    let mended = HeldOut { data: text(&new).into(), ..held_out.clone() };
    mended.write(&list).expect("written");
    assert_eq!(open(text(&list)).expect("images").len(), 5);

    let more = new.join("a/more.bmp");
    std::fs::copy(new.join("a/0.bmp"), &more).expect("copied");
    let refused = |held_out: &HeldOut| held_out.split(text(&new), moved(&new)).err().expect("refused").what;
    assert!(refused(&held_out).ends_with("has 21 images, and had 20 when some were held out"));
    std::fs::remove_file(&more).expect("removed");
    std::fs::remove_file(new.join(&held_out.names[2])).expect("removed");
    assert!(refused(&held_out).ends_with("has 4 of the 5 images that were held out"));
}

#[test]
fn generated_images_and_binaries_are_held_out_too() {
    let spec = "shapes:n=40,size=8";
    let whole = open(spec).expect("shapes");
    let held_out = HeldOut::draw(spec, whole.as_ref(), 10, 0);
    assert!(held_out.is_of(spec) && !held_out.is_of("shapes:n=41,size=8"));
    let parts = held_out.split(spec, whole).expect("shapes");
    assert_eq!(names(parts.held_out.as_ref()), held_out.names);

    let folder = tempfile::tempdir().expect("a folder");
    let records: Vec<u8> = (0..20).flat_map(|i| [vec![i % 10], vec![i; 3072]].concat()).collect();
    std::fs::write(folder.path().join("data_batch_1.bin"), records).expect("written");
    let data = text(folder.path());
    let held_out = HeldOut::draw(data, open(data).expect("CIFAR").as_ref(), 4, 0);
    assert!(held_out.names.iter().all(|name| name.starts_with("data_batch_1.bin/")), "{:?}", held_out.names);
    assert_eq!(held_out.split(data, open(data).expect("CIFAR")).expect("the same").training.len(), 16);
}

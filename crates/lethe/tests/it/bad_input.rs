//! What users get wrong, by command: one line that says where and what was expected, and nothing left on disk.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use insta::assert_snapshot;
use tempfile::TempDir;

use crate::evaluate::{mixed_sizes, save};
use crate::support::{temp_dir, text};

/// A folder with a checkpoint `c.safetensors`, JPEG images of two classes in `jpg/`, and things that are none.
fn folder() -> TempDir {
    let folder = temp_dir();
    let path = folder.path();
    save(path, "c.safetensors", "resnet18-w4");
    for i in 0..24u32 {
        let image = image::RgbImage::from_fn(24, 24, |x, y| image::Rgb([x * y, x * (i + 1), y * 7].map(|v| v as u8)));
        let class = path.join("jpg").join(["a", "b"][i as usize % 2]);
        std::fs::create_dir_all(&class).unwrap();
        image.save(class.join(format!("{i:02}.jpg"))).unwrap();
    }
    std::fs::create_dir_all(path.join("empty")).unwrap();
    std::fs::write(path.join("file.txt"), "text\n").unwrap();
    std::fs::write(path.join("nothing.safetensors"), "").unwrap();
    folder
}

/// Cuts the first `images` images of `folder/jpg` in half.
fn truncate(folder: &Path, images: usize) {
    for i in 0..images {
        let path = folder.join("jpg").join(["a", "b"][i % 2]).join(format!("{i:02}.jpg"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

/// Every file and folder below `folder`, with its length.
fn content(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    entries.map(|entry| (entry.path().to_owned(), entry.metadata().map_or(0, |found| found.len()))).collect()
}

fn run(folder: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lethe"));
    let output = program.args(arguments).current_dir(folder).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What `lethe COMMAND` says of every command, whose words stand between spaces. None may leave anything behind.
fn refused(folder: &Path, commands: &[&str]) -> String {
    let mut said = String::new();
    let before = content(folder);
    for command in commands {
        let (code, stderr) = run(folder, command.split_whitespace());
        assert!(matches!(code, Some(1 | 2)) && !stderr.contains("internal error"), "{command}: {code:?} {stderr}");
        assert_eq!(content(folder), before, "lethe {command} leaves something behind");
        let told = |line: &&str| ["error: ", "hint: ", "possible values: "].iter().any(|part| line.contains(part));
        let lines = stderr.lines().filter(told);
        let short = command.replace(PRETRAIN, "pretrain ..").replace(UNDO, "undo ..");
        said += &format!("{short} -> {}\n{}\n", code.unwrap(), lines.collect::<Vec<_>>().join("\n"));
    }
    said
}

/// The error and the hint at the end of `said`, without the progress before them.
fn error(said: &str) -> &str {
    &said[said.find("error: ").unwrap()..]
}

const PRETRAIN: &str = "pretrain --encoder resnet18-w4 --epochs 1 --batch-size 8 --threads 1";
const UNDO: &str = "undo c.safetensors --method simclr --epochs 1 --batch-size 8 --threads 1";

#[test]
fn methods_that_do_not_exist() {
    let folder = folder();
    std::fs::write(folder.path().join("m.toml"), "method = \"mocov9\"\n").unwrap();
    std::fs::write(folder.path().join("e.toml"), "encoder = 18\n").unwrap();
    let names: Vec<&str> = lethe::methods::METHODS.iter().map(|entry| entry.name).collect();
    let said = refused(
        folder.path(),
        &[
            "pretrain --method mocov9 --data jpg --out o",
            "pretrain --config m.toml --data jpg --out o",
            "pretrain --config e.toml --data jpg --out o",
            "undo c.safetensors --method mocov9 --data jpg --out o",
            "undo c.safetensors --data jpg --out o",
        ],
    );
    assert_snapshot!(said.replace(&names.join(", "), "METHODS"), @r#"
    pretrain --method mocov9 --data jpg --out o -> 2
    error: invalid value 'mocov9' for '--method <METHOD>'
      [possible values: METHODS]
    pretrain --config m.toml --data jpg --out o -> 2
    error: unknown method "mocov9"
      hint: one of: METHODS
    pretrain --config e.toml --data jpg --out o -> 2
    error: e.toml: settings: invalid type: integer `18`, expected a string in `encoder`
      hint: `lethe pretrain --help` lists the keys
    undo c.safetensors --method mocov9 --data jpg --out o -> 2
    error: invalid value 'mocov9' for '--method <METHOD>'
      [possible values: METHODS]
    undo c.safetensors --data jpg --out o -> 2
    error: c.safetensors: does not say which method trained it
      hint: --method, one of: METHODS
    "#);
}

#[test]
fn images_that_are_not_there() {
    let folder = folder();
    assert_snapshot!(refused(folder.path(), &[
        &format!("{PRETRAIN} --data nowhere --out o"),
        &format!("{PRETRAIN} --data empty --out o"),
        &format!("{PRETRAIN} --data file.txt --out o"),
        &format!("{PRETRAIN} --data jpg@n=0 --out o"),
        &format!("{PRETRAIN} --data jpg@n=20,skip=5 --out o"),
        &format!("{UNDO} --data nowhere --out o"),
        &format!("{UNDO} --data empty --out o"),
        "diagnose c.safetensors --data empty --out o",
        "diagnose c.safetensors --data jpg --unseen nowhere --out o",
        "evaluate c.safetensors --data nowhere --test jpg --out o.json",
        "evaluate c.safetensors --data jpg --test empty --out o.json",
        "features c.safetensors --data empty --out o.safetensors",
        "features jpg --data c.safetensors --out o.safetensors",
        "features c.safetensors --data= --out o.safetensors",
    ]), @r#"
    pretrain .. --data nowhere --out o -> 2
    error: nowhere: no such folder, file or data set
      hint: see `lethe data list` for what --data takes
    pretrain .. --data empty --out o -> 2
    error: empty: no images in this folder
      hint: expected CLASS/*.jpg or *.jpg; endings: jpg, jpeg, png, webp, bmp
    pretrain .. --data file.txt --out o -> 2
    error: file.txt: expected a folder of images, or a CIFAR .bin file
      hint: see `lethe data list` for what --data takes
    pretrain .. --data jpg@n=0 --out o -> 2
    error: @n=0: asks for 0 images after the first 0, of 24
      hint: n must be at least 1 and skip + n at most the number of images
    pretrain .. --data jpg@n=20,skip=5 --out o -> 2
    error: @n=20,skip=5: asks for 20 images after the first 5, of 24
      hint: n must be at least 1 and skip + n at most the number of images
    undo .. --data nowhere --out o -> 2
    error: nowhere: no such folder, file or data set
      hint: see `lethe data list` for what --data takes
    undo .. --data empty --out o -> 2
    error: empty: no images in this folder
      hint: expected CLASS/*.jpg or *.jpg; endings: jpg, jpeg, png, webp, bmp
    diagnose c.safetensors --data empty --out o -> 2
    error: empty: no images in this folder
      hint: expected CLASS/*.jpg or *.jpg; endings: jpg, jpeg, png, webp, bmp
    diagnose c.safetensors --data jpg --unseen nowhere --out o -> 2
    error: nowhere: no such folder, file or data set
      hint: see `lethe data list` for what --data takes
    evaluate c.safetensors --data nowhere --test jpg --out o.json -> 2
    error: nowhere: no such folder, file or data set
      hint: see `lethe data list` for what --data takes
    evaluate c.safetensors --data jpg --test empty --out o.json -> 2
    error: empty: no images in this folder
      hint: expected CLASS/*.jpg or *.jpg; endings: jpg, jpeg, png, webp, bmp
    features c.safetensors --data empty --out o.safetensors -> 2
    error: empty: no images in this folder
      hint: expected CLASS/*.jpg or *.jpg; endings: jpg, jpeg, png, webp, bmp
    features jpg --data c.safetensors --out o.safetensors -> 1
    error: jpg: is a folder, not a checkpoint
      hint: name one of the checkpoints in it
    features c.safetensors --data= --out o.safetensors -> 2
    error: the name of the images is empty
      hint: see `lethe data list` for what --data takes
    "#);
}

#[test]
fn a_folder_and_the_generated_images_of_one_name() {
    let folder = folder();
    let path = folder.path();
    std::fs::rename(path.join("jpg"), path.join("shapes")).unwrap();
    assert_snapshot!(refused(path, &[
        &format!("{PRETRAIN} --data shapes --out o"),
        "features c.safetensors --data shapes@n=8 --out o.safetensors",
    ]), @r"
    pretrain .. --data shapes --out o -> 2
    error: shapes: names both the generated images and a folder here
      hint: ./shapes for the folder, shapes: for the generated images
    features c.safetensors --data shapes@n=8 --out o.safetensors -> 2
    error: shapes: names both the generated images and a folder here
      hint: ./shapes for the folder, shapes: for the generated images
    ");
    for (data, images) in [("./shapes", 24), ("shapes:@n=30", 30)] {
        let (code, said) = run(path, format!("features c.safetensors --data {data} --out o.safetensors").split(' '));
        assert_eq!(code, Some(0), "{said}");
        let features = lethe::feature_file::read(&path.join("o.safetensors"), None).unwrap();
        assert_eq!(features.matrices[0].1.nrows(), images);
    }
    // A run from before the folder was there means the generated images.
    assert_eq!(lethe::data::absolute("shapes@n=8"), "shapes:@n=8");
}

#[test]
fn images_of_several_sizes_are_shown_at_one_which_is_said() {
    let folder = folder();
    let path = folder.path();
    mixed_sizes(path);
    let (code, said) = run(path, format!("{PRETRAIN} --data mixed --out small").split(' '));
    assert_eq!(code, Some(0), "{said}");
    assert_snapshot!(said.lines().next().unwrap(), @"mixed: images differ in size (16x16, 20x16, ..): they are shown at 16x16; --image-size says otherwise");
    assert!(std::fs::read_to_string(path.join("small/config.toml")).unwrap().contains("image_size = 16\n"));
    std::fs::create_dir(path.join("photos")).unwrap();
    for (i, width) in [150, 200, 300, 10].into_iter().enumerate() {
        image::RgbImage::new(width, 140).save(path.join(format!("photos/{i}.png"))).unwrap();
    }
    let photos = lethe::data::open(text(&path.join("photos"))).unwrap();
    assert_eq!(lethe::config::image_size_of(photos.as_ref(), "photos").unwrap(), 224);
    let (code, said) = run(path, format!("{PRETRAIN} --data mixed --image-size 12 --out told").split(' '));
    assert!(code == Some(0) && !said.contains("differ"), "{said}");
}

#[test]
fn truncated_images_are_listed_and_counted() {
    let folder = folder();
    let path = folder.path();
    truncate(path, 1);
    let (code, said) = run(path, format!("{PRETRAIN} --data jpg --out one --json").split(' '));
    assert_eq!(code, Some(0), "{said}");
    let listed = |run: &str| std::fs::read_to_string(path.join(run).join("bad_samples.jsonl")).unwrap();
    assert_snapshot!(listed("one"), @r#"{"name":"jpg/a/00.jpg","reason":"it is cut off: a JPEG without its end marker"}"#);
    truncate(path, 4);
    let (code, said) = run(path, format!("{PRETRAIN} --data jpg --out four").split(' '));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("more than the 1 allowed (bad_budget 0.001)"), "{said}");
    assert!(said.ends_with("hint: mend or remove the images that four/bad_samples.jsonl lists\n"), "{said}");
    assert!(listed("four").lines().count() > 1);
    let (code, said) = run(path, format!("{PRETRAIN} --data jpg --out borne --bad-budget 0.5").split(' '));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed("borne").lines().count(), 4);
}

#[test]
fn images_that_are_all_truncated() {
    let folder = folder();
    let path = folder.path();
    truncate(path, 24);
    assert_snapshot!(refused(path, &[
        &format!("{PRETRAIN} --data jpg --out o"),
        "diagnose c.safetensors --data jpg --image-size 16 --out o",
        "evaluate c.safetensors --data jpg --test jpg --image-size 16 --protocol linear --out o.json",
        "features c.safetensors --data jpg --image-size 16 --out o.safetensors",
    ]), @r"
    pretrain .. --data jpg --out o -> 1
    error: --data jpg: none of the 16 images looked at can be read; jpg/a/00.jpg: it is cut off: a JPEG without its end marker
      hint: mend or remove the broken images
    diagnose c.safetensors --data jpg --image-size 16 --out o -> 1
    error: 24 of 24 images are broken, more than the 1 allowed (bad_budget 0.001); the first: jpg/a/00.jpg: it is cut off: a JPEG without its end marker
      hint: mend or remove the broken images
    evaluate c.safetensors --data jpg --test jpg --image-size 16 --protocol linear --out o.json -> 1
    error: 24 of 24 images are broken, more than the 1 allowed (bad_budget 0.001); the first: jpg/a/00.jpg: it is cut off: a JPEG without its end marker
      hint: mend or remove the broken images
    features c.safetensors --data jpg --image-size 16 --out o.safetensors -> 1
    error: 24 of 24 images are broken, more than the 1 allowed (bad_budget 0.001); the first: jpg/a/00.jpg: it is cut off: a JPEG without its end marker
      hint: mend or remove the broken images
    ");
    // Where the size is given the training begins: its folder keeps the list.
    let (code, said) = run(path, format!("{PRETRAIN} --data jpg --image-size 16 --out o").split(' '));
    assert_eq!(code, Some(1));
    assert_snapshot!(error(&said), @r"
    error: 24 of 24 images are broken, more than the 1 allowed (bad_budget 0.001); the first: jpg/a/00.jpg: it is cut off: a JPEG without its end marker
      hint: mend or remove the images that o/bad_samples.jsonl lists
    ");
    let (code, said) = run(path, format!("{UNDO} --data jpg --image-size 16 --out u").split(' '));
    assert_eq!((code, said.lines().count()), (Some(1), 3), "{said}");
    let left: Vec<_> = std::fs::read_dir(path.join("u")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["bad_samples.jsonl"]);
}

#[test]
fn files_that_are_not_the_checkpoint_expected() {
    let folder = folder();
    let path = folder.path();
    save(path, "other.safetensors", "resnet18-w2");
    let opened = lethe::checkpoint::open(&path.join("c.safetensors")).unwrap();
    let named = |name: &str| path.join(name);
    let mut broken = opened.encoder.copy();
    broken.insert("layer4.1.conv2.weight", opened.encoder.get("layer4.1.conv2.weight") * f64::NAN);
    lethe::checkpoint::write_tensors(&named("nan.safetensors"), &broken, &BTreeMap::new()).unwrap();
    let bare = opened.encoder.filter(|name| !name.contains("running_"));
    lethe::checkpoint::write_tensors(&named("bare.safetensors"), &bare, &BTreeMap::new()).unwrap();
    let (code, said) = run(path, format!("{PRETRAIN} --data shapes:n=8,size=16 --out run").split(' '));
    assert_eq!(code, Some(0), "{said}");
    let encoder = named("run/checkpoints/epoch-0001.safetensors");
    let each = |checkpoint: &str| {
        refused(
            path,
            &[
                &format!("undo {checkpoint} --method simclr --data jpg --batch-size 8 --out o"),
                &format!("diagnose {checkpoint} --data jpg --out o"),
                &format!("evaluate {checkpoint} --data jpg --test jpg --protocol linear --out o.json"),
                &format!("features {checkpoint} --data jpg --out o.safetensors"),
                &format!("convert {checkpoint} o.safetensors"),
            ],
        )
    };
    assert_snapshot!(each("nan.safetensors"), @r"
    undo nan.safetensors --method simclr --data jpg --batch-size 8 --out o -> 1
    error: nan.safetensors: tensor layer4.1.conv2.weight holds NaN or infinite numbers
      hint: the training that wrote it broke: use an earlier checkpoint
    diagnose nan.safetensors --data jpg --out o -> 1
    error: nan.safetensors: tensor layer4.1.conv2.weight holds NaN or infinite numbers
      hint: the training that wrote it broke: use an earlier checkpoint
    evaluate nan.safetensors --data jpg --test jpg --protocol linear --out o.json -> 1
    error: nan.safetensors: tensor layer4.1.conv2.weight holds NaN or infinite numbers
      hint: the training that wrote it broke: use an earlier checkpoint
    features nan.safetensors --data jpg --out o.safetensors -> 1
    error: nan.safetensors: tensor layer4.1.conv2.weight holds NaN or infinite numbers
      hint: the training that wrote it broke: use an earlier checkpoint
    convert nan.safetensors o.safetensors -> 1
    error: nan.safetensors: tensor layer4.1.conv2.weight holds NaN or infinite numbers
      hint: the training that wrote it broke: use an earlier checkpoint
    ");
    assert_snapshot!(each("nothing.safetensors"), @r"
    undo nothing.safetensors --method simclr --data jpg --batch-size 8 --out o -> 1
    error: nothing.safetensors: is empty, not a checkpoint
    diagnose nothing.safetensors --data jpg --out o -> 1
    error: nothing.safetensors: is empty, not a checkpoint
    evaluate nothing.safetensors --data jpg --test jpg --protocol linear --out o.json -> 1
    error: nothing.safetensors: is empty, not a checkpoint
    features nothing.safetensors --data jpg --out o.safetensors -> 1
    error: nothing.safetensors: is empty, not a checkpoint
    convert nothing.safetensors o.safetensors -> 1
    error: nothing.safetensors: is empty, not a checkpoint
    ");
    assert_snapshot!(refused(path, &[
        "diagnose nowhere --out o",
        "diagnose c.safetensors other.safetensors --data jpg --out o",
        "diagnose run c.safetensors --out o",
        "convert bare.safetensors o.safetensors",
        "convert run/checkpoints/epoch-0001.state.safetensors o.safetensors",
        "measure c.safetensors",
        "measure nothing.safetensors",
        "measure jpg",
        "report file.txt",
    ]), @r"
    diagnose nowhere --out o -> 1
    error: nowhere: no such file or folder
    diagnose c.safetensors other.safetensors --data jpg --out o -> 2
    error: other.safetensors holds resnet18-w2 (cifar stem), the first one resnet18-w4 (cifar stem)
      hint: diagnose checkpoints of one encoder at a time
    diagnose run c.safetensors --out o -> 2
    error: run: is a folder among checkpoints
      hint: name runs only, or checkpoints only
    convert bare.safetensors o.safetensors -> 1
    error: bare.safetensors: tensor bn1.running_mean of resnet18-w4 (cifar stem) is missing
      hint: batch-norm's statistics are needed: save state_dict(), not the parameters alone
    convert run/checkpoints/epoch-0001.state.safetensors o.safetensors -> 1
    error: run/checkpoints/epoch-0001.state.safetensors: is the state beside a checkpoint
      hint: name the checkpoint: without `.state`
    measure c.safetensors -> 1
    error: c.safetensors: no 2-D float tensor, but bn1.num_batches_tracked I64 [], layer1.0.bn1.num_batches_tracked I64 [], layer1.0.bn2.num_batches_tracked I64 [], layer1.1.bn1.num_batches_tracked I64 [], ...
      hint: of a checkpoint, `lethe features` writes them
    measure nothing.safetensors -> 1
    error: nothing.safetensors: is empty, expected .npy, .npz or safetensors
    measure jpg -> 1
    error: jpg: it is a folder
    report file.txt -> 1
    error: file.txt: is a file, expected a folder
    ");
    // In the place of a run's own.
    std::fs::copy(named("other.safetensors"), &encoder).unwrap();
    let (code, said) = run(path, "pretrain --resume --out run".split(' '));
    assert_eq!(code, Some(1));
    assert_snapshot!(error(&said), @r"
    error: run/checkpoints/epoch-0001.safetensors: no checkpoint of this run can be taken up
      hint: --overwrite starts anew; the settings must be those of the run
    ");
}

#[test]
fn places_that_cannot_be_written_to() {
    let folder = folder();
    let path = folder.path();
    std::fs::create_dir(path.join("folder.npy")).unwrap();
    assert_snapshot!(refused(path, &[
        &format!("{PRETRAIN} --data jpg --out file.txt"),
        &format!("{PRETRAIN} --data jpg --out file.txt/o"),
        &format!("{PRETRAIN} --data jpg --out /proc/o"),
        &format!("{UNDO} --data jpg --out file.txt/o"),
        "diagnose c.safetensors --data jpg --out file.txt",
        "evaluate c.safetensors --data jpg --test jpg --protocol linear --out file.txt/o.json",
        "evaluate c.safetensors --data jpg --test jpg --protocol linear --out nowhere/o.json",
        "features c.safetensors --data jpg --out file.txt/o.safetensors",
        "features c.safetensors --data jpg --stages last --out folder.npy",
        "convert c.safetensors file.txt/o.safetensors",
        "convert c.safetensors o.pth",
        "convert c.safetensors o.txt",
        "data make-shapes file.txt/o",
        "demo --out file.txt",
    ]), @r"
    pretrain .. --data jpg --out file.txt -> 1
    error: file.txt: this folder cannot be made: there is a file of that name
      hint: name another folder
    pretrain .. --data jpg --out file.txt/o -> 1
    error: file.txt/o: this folder cannot be made: a part of the path is a file, not a folder
      hint: name another folder
    pretrain .. --data jpg --out /proc/o -> 1
    error: /proc/o: this folder cannot be made: no such file or folder
      hint: name another folder
    undo .. --data jpg --out file.txt/o -> 1
    error: file.txt/o: this folder cannot be made: a part of the path is a file, not a folder
      hint: name another folder
    diagnose c.safetensors --data jpg --out file.txt -> 1
    error: file.txt: this folder cannot be made: there is a file of that name
      hint: name another folder
    evaluate c.safetensors --data jpg --test jpg --protocol linear --out file.txt/o.json -> 1
    error: file.txt/o.json: cannot be written: a part of the path is a file, not a folder
      hint: name another folder
    evaluate c.safetensors --data jpg --test jpg --protocol linear --out nowhere/o.json -> 1
    error: nowhere/o.json: cannot be written: no such file or folder
      hint: make its folder first
    features c.safetensors --data jpg --out file.txt/o.safetensors -> 1
    error: file.txt/o.safetensors: cannot be written: a part of the path is a file, not a folder
      hint: name another folder
    features c.safetensors --data jpg --stages last --out folder.npy -> 1
    error: folder.npy: cannot be written: it is a folder
      hint: name a file
    convert c.safetensors file.txt/o.safetensors -> 1
    error: file.txt/o.safetensors: cannot be written: a part of the path is a file, not a folder
      hint: name another folder
    convert c.safetensors o.pth -> 2
    error: o.pth: expected a name that ends in .safetensors, which is what is written
    convert c.safetensors o.txt -> 2
    error: o.txt: expected a name that ends in .safetensors, which is what is written
    data make-shapes file.txt/o -> 1
    error: file.txt/o: this folder cannot be made: a part of the path is a file, not a folder
      hint: name another folder
    demo --out file.txt -> 1
    error: file.txt: this folder cannot be made: there is a file of that name
      hint: name another folder
    ");
}

#[test]
fn places_that_hold_something_already() {
    let folder = folder();
    let path = folder.path();
    std::fs::create_dir(path.join("diagnosed")).unwrap();
    std::fs::write(path.join("diagnosed/diagnosis.json"), "{}").unwrap();
    std::fs::create_dir_all(path.join("demo/run")).unwrap();
    assert_snapshot!(refused(path, &[
        &format!("{UNDO} --data jpg --out jpg"),
        "diagnose c.safetensors --data jpg --out diagnosed",
        "convert c.safetensors nothing.safetensors",
        "data make-shapes jpg",
        "demo --out demo",
    ]), @r"
    undo .. --data jpg --out jpg -> 2
    error: jpg: this folder is not empty
      hint: --resume continues a repair that was cut off, --overwrite replaces an earlier one, or choose another --out
    diagnose c.safetensors --data jpg --out diagnosed -> 2
    error: diagnosed: there is a diagnosis in this folder already
      hint: --overwrite replaces it, or choose another --out
    convert c.safetensors nothing.safetensors -> 2
    error: nothing.safetensors: is there already
      hint: --overwrite replaces it
    data make-shapes jpg -> 2
    error: jpg: expected a folder that does not exist yet or is empty
    demo --out demo -> 2
    error: demo: there is a demo in this folder already
      hint: --overwrite replaces it, or choose another --out
    ");
}

#[test]
fn results_that_would_go_over_what_others_made() {
    let folder = folder();
    let path = folder.path();
    let write = |name: &str| {
        std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        std::fs::write(path.join(name), "epochs = 1\n").unwrap();
    };
    ["run/config.toml", "page.html", "f.labels.npy", "mine/diagnosis.json", "site/report.html"]
        .into_iter()
        .for_each(write);
    assert_snapshot!(refused(path, &[
        "report run --out run/config.toml",
        "report run --out page.html",
        "evaluate c.safetensors --data jpg --test jpg --protocol linear --out jpg/a/00.jpg",
        "features c.safetensors --data jpg --stages last --out f.npy",
        "diagnose c.safetensors --data jpg --out mine --overwrite",
        "diagnose c.safetensors --data jpg --out site",
        "undo c.safetensors --data jpg --method simclr --batch-size 8 --out site --overwrite",
        "demo --out mine --overwrite",
    ]), @r"
    report run --out run/config.toml -> 2
    error: run/config.toml: is there already, and not what this command writes
      hint: name another place, or move it away
    report run --out page.html -> 2
    error: page.html: is there already, and not what this command writes
      hint: name another place, or move it away
    evaluate c.safetensors --data jpg --test jpg --protocol linear --out jpg/a/00.jpg -> 2
    error: jpg/a/00.jpg: is there already, and not what this command writes
      hint: name another place, or move it away
    features c.safetensors --data jpg --stages last --out f.npy -> 2
    error: f.labels.npy: is there already, and the labels would go there
      hint: choose another --out
    diagnose c.safetensors --data jpg --out mine --overwrite -> 2
    error: mine/diagnosis.json: is there already, and not what this command writes
      hint: name another place, or move it away
    diagnose c.safetensors --data jpg --out site -> 2
    error: site/report.html: is there already, and not what this command writes
      hint: name another place, or move it away
    undo c.safetensors --data jpg --method simclr --batch-size 8 --out site --overwrite -> 2
    error: site: holds report.html, which is of no repair
      hint: choose another --out
    demo --out mine --overwrite -> 2
    error: mine: holds diagnosis.json, which is of no demo
      hint: choose another --out
    ");
    // What Lethe wrote itself it writes again.
    for command in [
        "report run",
        "evaluate c.safetensors --data jpg --test jpg --protocol linear --out e.json",
        "features c.safetensors --data jpg --stages last --out own.npy",
    ] {
        for _ in 0..2 {
            let (code, said) = run(path, command.split(' '));
            assert_eq!(code, Some(0), "{command}: {said}");
        }
    }
}

#[test]
fn results_that_would_go_over_what_is_read() {
    let folder = folder();
    let path = folder.path();
    assert_snapshot!(refused(path, &[
        &format!("{PRETRAIN} --data jpg --out ./jpg"),
        &format!("{UNDO} --data jpg --out . --overwrite"),
        "evaluate c.safetensors --data jpg --test jpg --out ./c.safetensors",
        "features c.safetensors --data jpg --out empty/../c.safetensors",
        "convert c.safetensors c.safetensors --overwrite",
    ]), @r"
    pretrain .. --data jpg --out ./jpg -> 2
    error: ./jpg: holds what is read, so the result cannot go there
      hint: name another place
    undo .. --data jpg --out . --overwrite -> 2
    error: .: holds what is read, so the result cannot go there
      hint: name another place
    evaluate c.safetensors --data jpg --test jpg --out ./c.safetensors -> 2
    error: ./c.safetensors: holds what is read, so the result cannot go there
      hint: name another place
    features c.safetensors --data jpg --out empty/../c.safetensors -> 2
    error: empty/../c.safetensors: holds what is read, so the result cannot go there
      hint: name another place
    convert c.safetensors c.safetensors --overwrite -> 2
    error: c.safetensors: holds what is read, so the result cannot go there
      hint: name another place
    ");
}

#[test]
fn numbers_out_of_their_range() {
    let folder = folder();
    let path = folder.path();
    let pretrain = |more: &str| format!("pretrain --encoder resnet18-w4 --data jpg --out o {more}");
    for (file, setting) in [("layer", "proj_hidden_dim = -5"), ("tau", "base_tau = 5.0"), ("zero", "temperature = 0.0")]
    {
        std::fs::write(path.join(file).with_extension("toml"), format!("[method_settings]\n{setting}\n")).unwrap();
    }
    assert_snapshot!(refused(path, &[
        &pretrain("--epochs 0 --batch-size 8"),
        &pretrain("--batch-size 0"),
        &pretrain("--batch-size 1"),
        &pretrain("--batch-size 25"),
        &pretrain("--batch-size 8 --image-size 0"),
        &pretrain("--batch-size 8 --image-size 100000"),
        &pretrain("--batch-size 8 --threads 100000"),
        &pretrain("--batch-size 8 --save-every 0"),
        &pretrain("--batch-size 8 --lr nan"),
        &pretrain("--batch-size 8 --lr -1"),
        &pretrain("--batch-size 8 --bad-budget 2"),
        &pretrain("--batch-size 8 --epochs 5 --umm-every 2 --umm-from 5"),
        &pretrain("--batch-size 8 --config layer.toml"),
        &pretrain("--batch-size 8 --config tau.toml --method byol"),
        &pretrain("--batch-size 8 --config zero.toml"),
        "pretrain --data jpg@n=1 --out o",
        "undo c.safetensors --method simclr --data jpg --out o",
        "undo c.safetensors --method simclr --data jpg --batch-size 1 --out o",
        "undo c.safetensors --method simclr --data jpg --epochs 0 --out o",
        "undo c.safetensors --method simclr --data jpg --batch-size 8 --lr 1e30 --alpha 1e30 --out o",
        "diagnose c.safetensors --data jpg --images 0 --out o",
        "evaluate c.safetensors --data jpg --test jpg",
        "features c.safetensors --data jpg --batch-size 0 --out o.safetensors",
        "features c.safetensors --data jpg --threads 100000 --out o.safetensors",
        "data make-shapes o --n 0",
        "demo --epochs 0 --out o",
    ]), @r"
    pretrain --encoder resnet18-w4 --data jpg --out o --epochs 0 --batch-size 8 -> 2
    error: epochs is 0, expected at least 1
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 0 -> 2
    error: batch_size is 0, expected at least 2
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 1 -> 2
    error: batch_size is 1, expected at least 2
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 25 -> 2
    error: batch_size 25 is larger than the data set (24 images)
      hint: --batch-size 24
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --image-size 0 -> 2
    error: image_size is 0, expected at least 1
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --image-size 100000 -> 2
    error: image_size is 100000, expected at most 4096
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --threads 100000 -> 2
    error: threads is 100000, expected at most 1024
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --save-every 0 -> 2
    error: save_every is 0, expected at least 1
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --lr nan -> 2
    error: lr must be a number of at least 0, not NaN
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --lr -1 -> 2
    error: lr must be a number of at least 0, not -1
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --bad-budget 2 -> 2
    error: bad_budget is 2, expected a share of at most 1
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --epochs 5 --umm-every 2 --umm-from 5 -> 2
    error: umm_from is 5: of 5 epochs none is left for a step of UMM
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --config layer.toml -> 2
    error: layer.toml: [method_settings]: proj_hidden_dim is -5, expected 1 to 131072
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --config tau.toml --method byol -> 2
    error: tau.toml: [method_settings]: base_tau is 5.0, expected 0 to 1
    pretrain --encoder resnet18-w4 --data jpg --out o --batch-size 8 --config zero.toml -> 2
    error: zero.toml: [method_settings]: temperature is 0.0, expected a number above 0
    pretrain --data jpg@n=1 --out o -> 2
    error: batch_size 256 is larger than the data set (1 images)
      hint: name more images
    undo c.safetensors --method simclr --data jpg --out o -> 2
    error: batch size 256 is more than the 24 images of the data set
      hint: pass --batch-size 24 or less
    undo c.safetensors --method simclr --data jpg --batch-size 1 --out o -> 2
    error: --batch-size 1: expected at least 2
    undo c.safetensors --method simclr --data jpg --epochs 0 --out o -> 2
    error: --epochs 0: expected at least 1
    undo c.safetensors --method simclr --data jpg --batch-size 8 --lr 1e30 --alpha 1e30 --out o -> 1
    error: step 1: outer is NaN
      hint: not one step was good: lower --lr or --alpha
    diagnose c.safetensors --data jpg --images 0 --out o -> 2
    error: 0 images a side are too few to diagnose, expected 20
    evaluate c.safetensors --data jpg --test jpg -> 2
    error: knn-200 needs at least 201 training images, there are 24
      hint: --protocol knn-20,linear
    features c.safetensors --data jpg --batch-size 0 --out o.safetensors -> 2
    error: invalid value '0' for '--batch-size <N>': expected a number of at least 1
    features c.safetensors --data jpg --threads 100000 --out o.safetensors -> 2
    error: invalid value '100000' for '--threads <N>': expected a number from 1 to 1024
    data make-shapes o --n 0 -> 2
    error: shapes:n=0,size=32,seed=1,split=train: n is 0, expected 1 to 100000000
    demo --epochs 0 --out o -> 2
    error: epochs is 0, expected at least 1
    ");
}

#[test]
fn numbers_that_settings_files_cannot_hold() {
    let folder = folder();
    assert_snapshot!(refused(folder.path(), &[
        &format!("{PRETRAIN} --data jpg --out o --seed 9223372036854775808"),
        "pretrain --data jpg --out o --batch-size 18446744073709551615",
        &format!("{UNDO} --data jpg --out o --seed -1"),
        &format!("{UNDO} --data jpg --out o --solver-steps 9223372036854775808"),
        &format!("{PRETRAIN} --data jpg --out o --device cpu:banana"),
    ]), @r"
    pretrain .. --data jpg --out o --seed 9223372036854775808 -> 2
    error: invalid value '9223372036854775808' for '--seed <SEED>': expected a whole number from 0 to 9223372036854775807
    pretrain --data jpg --out o --batch-size 18446744073709551615 -> 2
    error: invalid value '18446744073709551615' for '--batch-size <N>': expected a whole number from 0 to 9223372036854775807
    undo .. --data jpg --out o --seed -1 -> 2
    error: invalid value '-1' for '--seed <SEED>': expected a whole number from 0 to 9223372036854775807
    undo .. --data jpg --out o --solver-steps 9223372036854775808 -> 2
    error: invalid value '9223372036854775808' for '--solver-steps <N>': expected a whole number from 0 to 9223372036854775807
    pretrain .. --data jpg --out o --device cpu:banana -> 2
    error: --device cpu:banana: expected cpu or cuda:N
    ");
}

#[test]
fn sizes_that_an_encoder_or_the_memory_does_not_bear() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("queue.toml"), "[method_settings]\nqueue_size = 100000000000\n").unwrap();
    let (code, said) = run(
        path,
        "pretrain --encoder vit-tiny-w8-d2 --patch 4 --epochs 1 --batch-size 8 --data jpg --out vit".split(' '),
    );
    assert_eq!(code, Some(0), "{said}");
    let vit = "vit/checkpoints/epoch-0001.safetensors";
    let pretrain = |more: &str| format!("pretrain --data jpg --batch-size 8 --out o {more}");
    assert_snapshot!(refused(path, &[
        &pretrain("--encoder convnext-tiny-w4 --image-size 8"),
        &pretrain("--encoder convnext-tiny-w4 --image-size 72 --method swav"),
        &pretrain("--encoder convnext-tiny-w4 --patch 100000"),
        &pretrain("--encoder resnet18-w4 --method moco-v2 --config queue.toml"),
        "evaluate --encoder convnext-tiny-w4 --patch 4 --image-size 30 --data jpg --test jpg --protocol linear",
        &format!("undo {vit} --data jpg --batch-size 8 --split block1 --image-size 30 --out o"),
        &format!("undo {vit} --data jpg --batch-size 8 --split block1 --image-size 2 --out o"),
    ]), @r"
    pretrain --data jpg --batch-size 8 --out o --encoder convnext-tiny-w4 --image-size 8 -> 2
    error: views of 8 pixels: convnext-tiny-w4 (patch 2) needs 16 or more
      hint: choose a larger --image-size, or a smaller --patch
    pretrain --data jpg --batch-size 8 --out o --encoder convnext-tiny-w4 --image-size 72 --method swav -> 2
    error: views of 31 pixels: convnext-tiny-w4 (patch 4) needs 32 or more
      hint: choose a larger --image-size, or a smaller --patch
    pretrain --data jpg --batch-size 8 --out o --encoder convnext-tiny-w4 --patch 100000 -> 2
    error: --patch 100000: expected 1 to 256 pixels
    pretrain --data jpg --batch-size 8 --out o --encoder resnet18-w4 --method moco-v2 --config queue.toml -> 2
    error: queue.toml: [method_settings]: queue_size is 100000000000, expected 0 to 1048576
    evaluate --encoder convnext-tiny-w4 --patch 4 --image-size 30 --data jpg --test jpg --protocol linear -> 2
    error: untrained (seed 0): views of 30 pixels: convnext-tiny-w4 (patch 4) needs 32 or more
      hint: choose a larger --image-size, or a smaller --patch
    undo vit/checkpoints/epoch-0001.safetensors --data jpg --batch-size 8 --split block1 --image-size 30 --out o -> 2
    error: vit/checkpoints/epoch-0001.safetensors: images of 30 pixels: vit-tiny-w8-d2 has patches of 4
      hint: --image-size 32, or another multiple
    undo vit/checkpoints/epoch-0001.safetensors --data jpg --batch-size 8 --split block1 --image-size 2 --out o -> 2
    error: vit/checkpoints/epoch-0001.safetensors: views of 2 pixels: vit-tiny-w8-d2 (patch 4, 24 pixels, cls pooling) needs 4 or more
      hint: choose a larger --image-size, or a smaller --patch
    ");
}

#[test]
fn a_run_is_resumed_with_its_own_settings_only() {
    let folder = folder();
    let path = folder.path();
    let (code, said) = run(path, format!("{PRETRAIN} --data jpg --out run").split(' '));
    assert_eq!(code, Some(0), "{said}");
    assert_snapshot!(refused(path, &[
        "pretrain --resume --out run --epochs 5",
        "pretrain --resume --out run --drop-path 0.1",
        "pretrain --resume --out run --patch 4",
        "pretrain --resume --out run --encoder resnet18-w5",
        "pretrain --resume --out nowhere",
        "pretrain --resume --out empty",
        "pretrain --resume --out file.txt",
    ]), @r#"
    pretrain --resume --out run --epochs 5 -> 2
    error: --epochs 5: the run that --resume continues has 1
      hint: leave --epochs out, or start a run of its own in another folder
    pretrain --resume --out run --drop-path 0.1 -> 2
    error: --drop-path 0.1: the run that --resume continues has none
      hint: leave --drop-path out, or start a run of its own in another folder
    pretrain --resume --out run --patch 4 -> 2
    error: --patch 4: the run that --resume continues has none
      hint: leave --patch out, or start a run of its own in another folder
    pretrain --resume --out run --encoder resnet18-w5 -> 2
    error: --encoder "resnet18-w5": the run that --resume continues has "resnet18-w4"
      hint: leave --encoder out, or start a run of its own in another folder
    pretrain --resume --out nowhere -> 1
    error: nowhere: no such file or folder
    pretrain --resume --out empty -> 1
    error: empty: not a run folder: it has no config.toml
      hint: name the --out folder of `lethe pretrain`
    pretrain --resume --out file.txt -> 1
    error: file.txt: is a file, expected a folder
    "#);
    let (code, said) = run(path, format!("{PRETRAIN} --data jpg --resume --out run").split(' '));
    assert_eq!(code, Some(0), "{said}");
    // From another folder it finds its images too.
    let (code, said) = run(&path.join("empty"), "pretrain --resume --out ../run".split(' '));
    assert_eq!(code, Some(0), "{said}");
    // The same encoder, spelt out.
    let (code, said) = run(path, "pretrain --resume --out run --encoder resnet18-w04 --drop-path 0".split(' '));
    assert_eq!(code, Some(0), "{said}");

    let settings = std::fs::read_to_string(path.join("run/config.toml")).unwrap();
    let mut said = String::new();
    for (key, value) in [
        ("save_every", "0"),
        ("threads", "0"),
        ("image_size", "0"),
        ("epochs", "0"),
        ("lr", "nan"),
        ("drop_path", "2.0"),
    ] {
        let others = settings.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
        let changed: Vec<&str> = others.collect();
        std::fs::write(path.join("run/config.toml"), format!("{key} = {value}\n{}\n", changed.join("\n"))).unwrap();
        said += &refused(path, &["pretrain --resume --out run"]);
    }
    said += &refused(path, &["diagnose run --out d"]);
    assert_snapshot!(said.replace("pretrain --resume --out run -> 2\n", ""), @r"
    error: run/config.toml: save_every is 0, expected at least 1
    error: run/config.toml: threads is 0, expected at least 1
    error: run/config.toml: image_size is 0, expected at least 1
    error: run/config.toml: epochs is 0, expected at least 1
    error: run/config.toml: lr must be a number of at least 0, not NaN
    error: run/config.toml: drop_path 2: resnet18-w4 has no paths to drop
    diagnose run --out d -> 2
    error: run/config.toml: drop_path 2: resnet18-w4 has no paths to drop
    ");
}

#[test]
fn names_that_are_not_utf_8_work_as_others_do() {
    let folder = folder();
    let path = folder.path();
    let name = |name: &str| OsStr::from_bytes(&[b"\xff\xfe", name.as_bytes()].concat()).to_owned();
    std::fs::rename(path.join("c.safetensors"), path.join(name("c.safetensors"))).unwrap();
    std::fs::rename(path.join("jpg/a"), path.join("jpg").join(name("a"))).unwrap();
    let named = |before: &str, read: Option<&str>, after: &str, out: &str| {
        let words = |text: &str| text.split_whitespace().map(Into::into).collect::<Vec<_>>();
        let read = read.map(name).into_iter().collect();
        let arguments = [words(before), read, words(after), vec![name(out)], vec!["--json".into()]].concat();
        let (code, said) = run(path, &arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        assert!(path.join(name(out)).exists());
    };
    named(PRETRAIN, None, "--data jpg --out", "run");
    named("undo", Some("c.safetensors"), "--method simclr --data jpg --epochs 1 --batch-size 8 --out", "u");
    named("diagnose", Some("c.safetensors"), "--data jpg --out", "d");
    named("evaluate", Some("c.safetensors"), "--data jpg --test jpg --protocol linear --out", "e.json");
    named("features", Some("c.safetensors"), "--data jpg --out", "f.safetensors");
    named("convert", Some("c.safetensors"), "", "n.safetensors");
    named("report", Some("run"), "--out", "r.html");
    let words = "undo --repair average --method simclr --data jpg --batch-size 8 --out averaged --with";
    let mut arguments: Vec<OsString> = words.split(' ').map(Into::into).collect();
    arguments.extend([name("c.safetensors"), "--".into(), name("c.safetensors")]);
    let (code, said) = run(path, &arguments);
    assert_eq!(code, Some(0), "{said}");
}

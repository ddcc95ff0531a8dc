//! What several tests need: the real program, and real images.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Runs the real program to its end.
pub(crate) fn lethe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lethe")).args(args).output().expect("the program starts")
}

/// Runs the real program, expects success and gives its stdout.
pub(crate) fn lethe_ok(args: &[&str]) -> String {
    let output = lethe(args);
    assert!(output.status.success(), "lethe {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("stdout is UTF-8")
}

/// Runs the real program, expects it to fail with `code`, and gives its stderr.
pub(crate) fn lethe_err(args: &[&str], code: i32) -> String {
    let output = lethe(args);
    let stderr = String::from_utf8(output.stderr).expect("stderr is UTF-8");
    assert_eq!(output.status.code(), Some(code), "lethe {args:?}: {stderr}");
    stderr
}

/// The hyper-parameters of a method, of which sizes are cut down to what a small encoder and batch can do.
pub(crate) fn small_settings(method: &str) -> toml::Table {
    let mut table = (lethe::methods::find(method).unwrap().build)(&toml::Table::new()).unwrap().settings();
    for (key, value) in &mut table {
        let small = match key.as_str() {
            "queue_size" => 64,                      // the rows of a batch of 32 fit
            key if key.ends_with("output_dim") => 6, // 8 images can be whitened
            key if ["depth", "heads"].iter().any(|end| key.ends_with(end)) => 2,
            _ => 24,
        };
        if let toml::Value::Integer(size) = value {
            *size = small.min(*size);
        }
    }
    table
}

/// A small encoder of a family of `ENCODERS`, for images of 16 pixels.
pub(crate) fn small_encoder(family: &str) -> Box<dyn lethe::encoders::Encoder> {
    let parts = if family.starts_with("vit") { "-w16-d3" } else { "-w4" };
    let spec = lethe::encoders::EncoderSpec { name: format!("{family}{parts}"), ..Default::default() };
    spec.resolved(16).unwrap().build().unwrap()
}

/// The methods that can train a cut ResNet.
pub(crate) fn methods_for_parts() -> impl Iterator<Item = &'static lethe::methods::Entry> {
    let encoder = small_encoder("resnet18");
    lethe::methods::METHODS.iter().filter(move |entry| {
        let (_, late) = lethe::encoders::Part::cut(encoder.as_ref(), "stage2").unwrap();
        (entry.build)(&toml::Table::new()).unwrap().check(&late).is_ok()
    })
}

/// Flags for a small encoder that a method can train.
pub(crate) fn encoder_flags(method: &str) -> &'static [&'static str] {
    match methods_for_parts().any(|entry| entry.name == method) {
        true => &["--encoder", "resnet18-w4"],
        false => &["--encoder", "vit-tiny-w24-d2", "--patch", "4", "--pool", "mean"],
    }
}

/// A configuration that holds them, in a file.
pub(crate) fn small_head(method: &str) -> &'static str {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("small-{method}.toml"));
    let table = toml::Table::from_iter([("method_settings".to_owned(), small_settings(method).into())]);
    lethe::files::write_atomically(&path, table.to_string().as_bytes()).unwrap();
    Box::leak(path.to_str().unwrap().into())
}

/// A folder that is removed at the end of the test.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The text of a path, for arguments.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// JPEG files of 32x32 pixels, `train/<class>/*.jpg` and `test/<class>/*.jpg`: CIFAR-10 where it is, else shapes.
///
/// `LETHE_CIFAR` names the folder of CIFAR-10 where it is unpacked already; otherwise `shared/data/cifar10-jpeg.tar.xz`
/// beside the repository is unpacked once into `target/cifar10` (10 x 5,000 and 10 x 1,000 images). A clone that stands
/// alone draws its images into `target/shapes` (1,000 of `frog`, 40 of another class, in `train` and in `test`): nothing
/// here needs the network.
pub(crate) fn jpegs() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os("LETHE_CIFAR").map_or_else(unpack_or_draw, PathBuf::from)).clone()
}

fn unpack_or_draw() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
    let mut beside = root.ancestors().skip(1).map(|folder| folder.join("shared/data/cifar10-jpeg.tar.xz"));
    match beside.find(|archive| archive.exists()) {
        Some(archive) => once(&root.join("target/cifar10"), |folder| {
            let status = Command::new("tar").arg("xJf").arg(&archive).arg("-C").arg(folder).status().expect("tar runs");
            assert!(status.success(), "tar could not unpack {}", archive.display());
        }),
        None => once(&root.join("target/shapes"), |folder| {
            for (split, seed) in [("train", 1), ("test", 2)] {
                let shapes = lethe::data::open(&format!("shapes:n=1040,size=32,seed={seed}")).expect("shapes");
                for i in 0..shapes.len() {
                    let (class, number) = if i < 1000 { ("frog", i) } else { ("cat", i - 1000) };
                    let path = folder.join(format!("{split}/{class}/{number:04}.jpg"));
                    std::fs::create_dir_all(path.parent().expect("a folder")).expect("target can be written");
                    shapes.image(i).expect("an image").save(path).expect("target can be written");
                }
            }
        }),
    }
}

/// `folder`, filled by the first process that needs it.
fn once(folder: &Path, fill: impl FnOnce(&Path)) -> PathBuf {
    std::fs::create_dir_all(folder.parent().expect("target")).expect("target can be written");
    let lock = std::fs::File::create(folder.with_extension("lock")).expect("target can be written");
    lock.lock().expect("a lock"); // let go when `lock` is dropped
    if !folder.exists() {
        let half = folder.with_extension("half");
        let _ = std::fs::remove_dir_all(&half);
        std::fs::create_dir_all(&half).expect("target can be written");
        fill(&half);
        std::fs::rename(&half, folder).expect("target can be written");
    }
    folder.to_path_buf()
}

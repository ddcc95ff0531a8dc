//! `lethe data`: what `--data` takes, and the generated images as files.

use std::path::PathBuf;

use lethe_data::catalog::{KNOWN, Known};
use lethe_data::error::{At, Error, Result};
use lethe_data::progress::Progress;
use lethe_data::shapes::{COLOURS, SHAPES, Shapes, ShapesSettings, Split, TEXTURES};
use lethe_data::{Dataset, SOURCES, files};
use serde::Serialize;

use super::{print, print_json, table};

/// Lists the data sets and kinds of data; writes the generated images.
#[derive(clap::Subcommand)]
pub enum Args {
    /// Known data sets (sizes, licences, checksums) and the kinds of data that --data takes.
    #[command(after_help = "Example:\n  lethe data list --json")]
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Writes generated images as PNG files in class folders, with the causes of each in factors.csv.
    #[command(
        after_help = "Example:\n  lethe data make-shapes shapes/train --n 2000 --spurious 0.9\n  lethe data make-shapes shapes/test --n 1000 --split test"
    )]
    MakeShapes(MakeShapes),
}

#[derive(clap::Args)]
pub struct MakeShapes {
    /// Folder to write; it must not hold anything.
    dir: PathBuf,
    /// Number of images.
    #[arg(long, default_value_t = 2000)]
    n: usize,
    /// Width and height in pixels.
    #[arg(long, default_value_t = 32)]
    size: u32,
    /// Probability that colour and texture are the label's own [default: 0.9, of the test split 0].
    #[arg(long)]
    spurious: Option<f64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// train or test: other images, with the correlation of colour and texture broken.
    #[arg(long, default_value = "train")]
    split: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the folder holds something already, or cannot be written.
pub fn run(args: Args) -> Result<()> {
    match args {
        Args::List { json } => list(json),
        Args::MakeShapes(args) => make_shapes(&args),
    }
}

fn list(json: bool) -> Result<()> {
    if json {
        #[derive(Serialize)]
        struct Kind {
            kind: &'static str,
            takes: &'static str,
            example: &'static str,
        }
        #[derive(Serialize)]
        struct List {
            datasets: &'static [Known],
            kinds: Vec<Kind>,
        }
        let kinds = SOURCES.iter().map(|s| Kind { kind: s.kind, takes: s.takes, example: s.example }).collect();
        return print_json(&List { datasets: KNOWN, kinds });
    }
    let mut kinds = table(&["--data takes", "what it reads", "example"]);
    for source in SOURCES {
        kinds.add_row([source.kind, source.takes, source.example]);
    }
    print(&format!("{kinds}\n"))?;
    let mut known = table(&["data set", "training", "test", "pixels", "classes", "licence", "get it from", "pass"]);
    for set in KNOWN {
        let training = match set.unlabelled_images {
            0 => set.training_images.to_string(),
            more => format!("{} + {more} unlabelled", set.training_images),
        };
        known.add_row([
            set.name.to_owned(),
            training,
            set.test_images.to_string(),
            set.size.to_string(),
            set.classes.to_string(),
            set.licence.to_owned(),
            format!("{} ({}, {:.0} MB)", set.home, set.archive, set.archive_bytes as f64 / 1e6),
            set.pass.to_owned(),
        ]);
    }
    print(&known.to_string())?;
    print("Any of them may end in @n=5000,skip=0,seed=0 for a part, @corrupt=gaussian-noise,severity=3 for corrupted images.
Checksums: --json.")
}

fn make_shapes(args: &MakeShapes) -> Result<()> {
    let MakeShapes { dir, n, size, seed, split, .. } = args;
    let mut spec = format!("shapes:n={n},size={size},seed={seed},split={split}");
    if let Some(spurious) = args.spurious {
        spec.push_str(&format!(",spurious={spurious}"));
    }
    let shapes = Shapes::new(ShapesSettings::parse(&spec)?)?;
    if dir.exists() && (!dir.is_dir() || dir.read_dir().at(dir)?.next().is_some()) {
        return Err(Error::usage("expected a folder that does not exist yet or is empty").at(dir));
    }
    files::make_folder(dir)?;
    for class in SHAPES {
        let folder = dir.join(class);
        files::make_folder(&folder)?;
    }
    let mut csv = "file,shape,rotation,scale,own,colour,texture,x,y,light,light_direction,phase\n".to_owned();
    let progress = Progress::new("shapes", "images", *n as u64);
    let digits = (n - 1).to_string().len().max(5);
    for i in 0..shapes.len() {
        let f = shapes.factors(i);
        let shape = SHAPES[f.shape as usize];
        let file = format!("{shape}/{i:0digits$}.png");
        let path = dir.join(&file);
        shapes.draw(i).save(&path).map_err(|error| Error::failed(error.to_string()).at(&path))?;
        let (colour, texture) = (COLOURS[f.colour as usize], TEXTURES[f.texture as usize]);
        csv.push_str(&format!(
            "{file},{shape},{},{},{},{colour},{texture},{},{},{},{},{}\n",
            f.rotation, f.scale, f.own, f.x, f.y, f.light, f.light_direction, f.phase
        ));
        progress.advance(1);
    }
    progress.finish();
    // Last, so that a folder with it is whole.
    let factors = dir.join("factors.csv");
    files::write_atomically(&factors, csv.as_bytes())?;
    let settings = shapes.settings();
    if args.json {
        return print_json(&serde_json::json!({
            "dir": dir.display().to_string(), "images": n, "size": size, "spurious": settings.spurious, "seed": seed,
            "split": if settings.split == Split::Test { "test" } else { "train" }, "factors": factors.display().to_string(),
        }));
    }
    print(&format!("{n} images of {} shapes in {}, their causes in {}", SHAPES.len(), dir.display(), factors.display()))
}

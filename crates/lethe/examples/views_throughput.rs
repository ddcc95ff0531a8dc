//! Images a second of the loader, with SimCLR's two views of 32x32 pixels and no blur; `bench/peers/views.py` compares it:
//! `cargo run --release --example views_throughput -- DIR [--threads 2] [--epochs 1]`.
//!
//! Prints one number an epoch; the first decodes, later ones find small images in memory.
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::time::Instant;

use lethe::data;
use lethe::loader::{Loader, LoaderSettings};
use lethe::views::{Augmentation, Normalize, Op, RECIPES};

const SIZE: u32 = 32;

fn main() -> lethe::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(default, |place| arguments[place + 1].parse().expect("a whole number"))
    };
    let dataset = data::open(arguments.first().expect("a folder of images"))?;
    let simclr = RECIPES.iter().find(|recipe| recipe.name == "simclr").expect("it is a recipe");
    let mut views = (simclr.views)(SIZE);
    for view in &mut views {
        view.steps.retain(|step| !matches!(step.op, Op::Blur(_)));
    }
    let augmentation = Augmentation::new(views, Normalize::named("imagenet")?);
    let settings = LoaderSettings { threads: number("--threads", 2), ..LoaderSettings::default() };
    let loader = Loader::new(dataset, augmentation, settings)?;
    for epoch in 0..number("--epochs", 1) {
        let start = Instant::now();
        let mut images = 0;
        for batch in loader.epoch(epoch as u32, 0) {
            images += batch?.indices.len();
        }
        println!("{:.0}", images as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}

//! Images a second of the loader, for `bench/peers/views.py`:
//! `cargo run --release --example views_throughput -- DIR [--threads 2] [--epochs 2] [--recipe simclr|lightly] [--size 32]`.
//!
//! Prints one line an epoch; the first decodes, later ones find small images in memory.

use std::time::Instant;

use lethe::data;
use lethe::views::{Loader, LoaderSettings, Normalize, augmentation};

fn main() -> lethe::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).map_or(default, String::as_str).to_owned()
    };
    let number = |name: &str, default: &str| option(name, default).parse::<usize>().expect("a whole number");
    let dataset = data::open(arguments.first().expect("a folder of images"))?;
    let normalize = Normalize::named("imagenet")?;
    let size = number("--size", "32") as u32;
    let recipe = augmentation(&option("--recipe", "simclr"), size, normalize)?;
    let settings = LoaderSettings { threads: number("--threads", "2"), ..LoaderSettings::default() };
    let loader = Loader::new(dataset, recipe, settings)?;
    for epoch in 0..number("--epochs", "2") {
        let start = Instant::now();
        let mut images = 0;
        for batch in loader.epoch(epoch as u32, 0) {
            images += batch?.indices.len();
        }
        #[allow(clippy::print_stdout, reason = "this is a program")]
        {
            println!("{:.0}", images as f64 / start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

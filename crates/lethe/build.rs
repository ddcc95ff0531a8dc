//! Writes the folder of libtorch into every binary, test and bench, so that they run without `LD_LIBRARY_PATH`.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let libtorch = std::env::var("LIBTORCH").expect("LIBTORCH is set in .cargo/config.toml");
    let lib = Path::new(&libtorch).join("lib");
    let lib = lib
        .canonicalize()
        .unwrap_or_else(|_| panic!("no libtorch in {}: run `cargo xtask setup` first", lib.display()));
    // RPATH, not RUNPATH: libtorch_cpu finds its own neighbours through it.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{}", lib.display());
}

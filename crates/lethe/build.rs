//! Writes the folder of libtorch into every binary, test and bench, so that they run without `LD_LIBRARY_PATH`, and
//! builds the C++ functions of autograd.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let libtorch = std::env::var("LIBTORCH").expect("LIBTORCH is set in .cargo/config.toml");
    build_functions(&Path::new(&libtorch).join("include"));
    let lib = Path::new(&libtorch).join("lib");
    let lib = lib
        .canonicalize()
        .unwrap_or_else(|_| panic!("no libtorch in {}: run `cargo xtask setup` first", lib.display()));
    // RPATH, not RUNPATH: libtorch_cpu finds its own neighbours through it.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{}", lib.display());
}

fn build_functions(include: &Path) {
    println!("cargo:rerun-if-changed=csrc");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(3)
        .debug(false)
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        // The headers are libtorch's, not ours to mend.
        .warnings(false)
        .flag_if_supported("-w")
        .files(["csrc/second_order.cpp", "csrc/matmul.cpp", "csrc/adam.cpp", "csrc/cuda.cpp"])
        .compile("lethe_functions");
}

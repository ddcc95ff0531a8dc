//! Golden cases: `golden/CASE/` holds `make.py` (the independent implementation, float64) and the `case.safetensors`
//! it made; `cargo xtask golden` makes them again.

use std::path::PathBuf;

use lethe::nn::Weights;
use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

pub(crate) fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(case)
}

/// The tensors of a case, by name.
pub(crate) fn load(case: &str) -> Weights {
    let path = folder(case).join("case.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let kind = match view.dtype() {
                Dtype::F64 => Kind::Double,
                Dtype::F32 => Kind::Float,
                Dtype::I64 => Kind::Int64,
                Dtype::U8 => Kind::Uint8,
                other => panic!("{name}: {other:?} is not used in golden cases"),
            };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            (name, Tensor::f_from_data_size(view.data(), &shape, kind).expect("a whole tensor"))
        })
        .collect()
}

/// Largest absolute difference over the largest absolute value of `expected` (at least 1e-30).
pub(crate) fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let (found, expected) = (found.detach().to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let scale = expected.abs().max().double_value(&[]).max(1e-30);
    (found - expected).abs().max().double_value(&[]) / scale
}

pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let error = relative_error(found, expected);
    assert!(error <= tolerance, "{what}: relative error {error:e} > {tolerance:e}");
}

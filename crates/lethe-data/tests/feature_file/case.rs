//! Golden cases: `golden/CASE/` holds `make.py` (the independent implementation) and the `case.safetensors` it made;
//! `cargo xtask golden` makes them again.

use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use rand::{Rng, RngExt};
use safetensors::{Dtype, SafeTensors};

/// Files by their name, and arrays by theirs.
pub(crate) struct Case(Vec<u8>);

impl Case {
    pub(crate) fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).join("case.safetensors");
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("a safetensors file")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The content of a file.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.dtype(), Dtype::U8, "{name}");
        view.data().to_vec()
    }

    /// A file in a folder.
    pub(crate) fn put(&self, name: &str, folder: &Path) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.file(name)).expect("written");
        path
    }

    /// An array of float64.
    pub(crate) fn array(&self, name: &str) -> ArrayD<f64> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.dtype(), Dtype::F64, "{name}");
        let values = view.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        ArrayD::from_shape_vec(view.shape(), values).expect("a whole array")
    }

    /// An array of int64.
    pub(crate) fn labels(&self, name: &str) -> Vec<u32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.dtype(), Dtype::I64, "{name}");
        view.data().as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as u32).collect()
    }
}

/// Bytes changed, cut, doubled and inserted, mostly among the first `start`.
pub(crate) fn mutate(bytes: &mut Vec<u8>, start: usize, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..6) {
        let within = if rng.random_bool(0.8) { bytes.len().min(start) } else { bytes.len() };
        let at = rng.random_range(0..within.max(1));
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), rng.random()),
            4 if at < bytes.len() => bytes[at] = b"0123456789(){},'<>="[rng.random_range(0..19)],
            _ => bytes.extend_from_within(at.min(bytes.len())..),
        }
    }
}

/// Shows an error without the folder of the test.
pub(crate) fn text(folder: &Path, error: &lethe_data::Error) -> String {
    let hint = error.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
    format!("{error}{hint}").replace(&format!("{}/", folder.display()), "")
}

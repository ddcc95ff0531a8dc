//! k-NN as Wu et al. (2018) and all since: cosine similarity, votes weighted by exp(cosine / T), T = 0.1.

use lethe_measures::knn;

use super::{Classifier, Labelled};
use crate::error::{Error, Result};

const TEMPERATURE: f64 = 0.1;

struct Knn<'a> {
    bank: Labelled<'a>,
    k: usize,
}

pub(super) fn fit(bank: Labelled<'_>, k: usize) -> Result<Box<dyn Classifier + '_>> {
    Ok(Box::new(Knn { bank, k }))
}

impl Classifier for Knn<'_> {
    fn on_training(&self) -> Result<Vec<bool>> {
        let Labelled { features, labels } = self.bank;
        knn::leave_one_out(features, labels, self.k, TEMPERATURE).map_err(|error| Error::failed(error.to_string()))
    }

    fn on(&self, test: Labelled) -> Result<Vec<bool>> {
        let Labelled { features, labels } = self.bank;
        knn::against(features, labels, test.features, test.labels, self.k, TEMPERATURE)
            .map_err(|error| Error::failed(error.to_string()))
    }
}

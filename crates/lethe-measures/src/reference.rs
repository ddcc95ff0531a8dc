//! The page of measures, written from the tables.

use std::fmt::Write;

use crate::measures::MEASURES;

/// A number that is no row of [`MEASURES`], as it takes more than one matrix of features.
pub struct Function {
    pub name: &'static str,
    pub title: &'static str,
    pub formula: &'static str,
    pub paper: &'static str,
    pub takes: &'static str,
    pub cost: &'static str,
    /// Known failures.
    pub fails: &'static str,
}

/// What has no row in [`MEASURES`].
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "linear_cka",
        title: "Linear CKA",
        formula: "||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F), centred rows; debiased_linear_cka estimates each \
                  product without bias",
        paper: "Kornblith et al. 2019, arXiv 1905.00414",
        takes: "two matrices of the same images",
        cost: "n (d + e) min(n, d + e)",
        fails: "near 1 for any features once n is not well above d; few directions or far rows decide it",
    },
    Function {
        name: "sslmem",
        title: "SSLMem",
        formula: "(b - a)/(max - min), a and b the alignment distances of an image under the encoder and \
                  under a reference",
        paper: "Wang et al. 2024, arXiv 2401.12233",
        takes: "distances under two encoders",
        cost: "n",
        fails: "needs a second training, which differs by its seed too; one far image shrinks all others",
    },
    Function {
        name: "membership",
        title: "Membership inference",
        formula: "area under the ROC curve of a score, DeLong's interval, true positives at 1 % false ones",
        paper: "Carlini et al. 2022, arXiv 2112.03570",
        takes: "scores of members and of others",
        cost: "n ln n",
        fails: "tells anything else in which the two sets differ; the interval knows one encoder, not the \
                  spread of seeds",
    },
    Function {
        name: "class_rate_terms",
        title: "dR by image",
        formula: "dR plus the influence of a row on it; their mean is dR, and their error that of dR to first order",
        paper: "Hampel 1974; Jaeckel 1972",
        takes: "rows and labels",
        cost: "n d min(n, d)",
        fails: "to first order only: not where an image more or less decides a class",
    },
    Function {
        name: "view_retrieval",
        title: "View retrieval",
        formula: "share of views whose twin is the nearest by cosine among that view of all images",
        paper: "Wu et al. 2018, arXiv 1805.01978",
        takes: "pairs",
        cost: "n^2 d",
        fails: "falls with more images; the task of contrastive methods, which are at an advantage",
    },
    Function {
        name: "knn",
        title: "k-NN accuracy",
        formula: "the k rows of greatest cosine c vote with weight exp(c/T), T = 0.1; leave-one-out or against a bank",
        paper: "Wu et al. 2018, arXiv 1805.01978",
        takes: "rows and labels",
        cost: "n^2 d",
        fails: "depends on the size of the bank; blind to what needs a linear map",
    },
    Function {
        name: "onsets",
        title: "Onset of a curve",
        formula: "the checkpoints at which no change after them is rejected, by replicates of the images; \
                  family-wise p over stages",
        paper: "test inversion: docs/decisions/0004-onset.md",
        takes: "a number an image, stage and checkpoint",
        cost: "replicates of the curves",
        fails: "knows the spread of images, not of seeds; no earlier than the first checkpoint that is kept",
    },
    Function {
        name: "best",
        title: "Choice of a checkpoint",
        formula: "the best mean, and the earliest checkpoint that is not measurably worse",
        paper: "docs/decisions/0005-observations.md",
        takes: "a number an image, stage and checkpoint",
        cost: "replicates of the curves",
        fails: "as good as what it is asked to raise; few images make early checkpoints pass for as good",
    },
    Function {
        name: "fisher_trace",
        title: "Trace of the Fisher information",
        formula: "mean over batches of view pairs of ||grad loss||^2, for the parameters of a stage",
        paper: "Critical periods, ICLR 2026, openreview UxIRc97ecL",
        takes: "a checkpoint of Lethe with its state (`lethe diagnose --fisher`)",
        cost: "a backward pass a batch",
        fails: "a variant: gradients of batches, since a contrastive loss has no likelihood of one image; \
                  differs with batch size",
    },
];

/// The page `docs/measures.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Measures\n\nWritten from the tables in `crates/lethe-measures`: `LETHE_BLESS=1 cargo test -p lethe-measures \
         --test laws` rewrites it.\n\n`lethe measure` takes the measures of this section. Rows are `[n, d]`; unit rows \
         have length 1; everything is float64. Compare coding rates and LiDAR only at equal eps2, n and d.\n",
    );
    let entry = |page: &mut String, name: &str, title: &str, lines: &[(&str, &str)]| {
        let _ = writeln!(page, "\n### `{name}`: {title}\n");
        for (what, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            let _ = writeln!(page, "- {what}: {text}");
        }
    };
    for measure in MEASURES {
        let lines = [
            ("Formula", measure.formula),
            ("Paper", measure.paper),
            ("Needs", measure.needs.shown()),
            ("Cost", measure.cost.shown()),
            ("Variant", measure.variant),
            ("Known failures", measure.fails),
        ];
        entry(&mut page, measure.name, measure.title, &lines);
    }
    page +=
        "\n## Numbers of more than one matrix\n\n`lethe diagnose` takes them, and the library has them as functions.\n";
    for function in FUNCTIONS {
        let lines = [
            ("Formula", function.formula),
            ("Paper", function.paper),
            ("Takes", function.takes),
            ("Cost", function.cost),
            ("Known failures", function.fails),
        ];
        entry(&mut page, function.name, function.title, &lines);
    }
    page
}

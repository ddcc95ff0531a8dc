//! The page of measures, written from the tables.

use std::fmt::Write;

use crate::measures::{Ceiling, MEASURES};

/// Rows and columns whose costs the page gives.
const SIZES: [(usize, usize); 3] = [(2_000, 512), (20_000, 1_024), (50_000, 2_048)];

/// A number that is no row of [`MEASURES`], as it takes more than one matrix of features, or none.
pub struct Function {
    /// The key of the diagnosis.
    pub name: &'static str,
    pub title: &'static str,
    pub formula: &'static str,
    pub paper: &'static str,
    pub takes: &'static str,
    pub cost: &'static str,
    /// What is settled that the paper leaves open, or done otherwise.
    pub variant: &'static str,
    /// Known failures.
    pub fails: &'static str,
}

/// What has no row in [`MEASURES`].
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "membership",
        title: "Membership AUC",
        formula: "chance that a training image scores above an unseen one, the score being -D_i; D_i is the mean of \
                  ||u - u'||^2 over all pairs of views of image i, u their features around the mean of all images of \
                  both sides, scaled to unit length; 0.5 is guessing",
        paper: "Hanley and McNeil 1982; interval: DeLong et al. 1988",
        takes: "2 views or more of training and of unseen images, or any score of each",
        cost: "n q d, n ln n",
        variant: "every image counts once in the mean; a row below 1e-6 of its length is zero; the interval is made on the \
                  logit scale with Student's t; sides of the same draws are taken together image by image; the end \
                  towards 0.5 has the error of one image more a side that tells nothing; intervals hold together for all \
                  stages and checkpoints (multiplier bootstrap, largest of all studentised errors)",
        fails: "takes any difference of the two sides for membership; a stronger attack may tell more; knows the spread of \
                images, not of seeds; below 50 images a side an interval may miss more often than it says",
    },
    Function {
        name: "membership_above_control",
        title: "Membership above the control",
        formula: "membership AUC less that of the same stage of an encoder that did not see the images",
        paper: "DeLong et al. 1988, for correlated curves; ends: Zou and Donner 2008",
        takes: "the same images and draws through both encoders",
        cost: "n ln n",
        variant: "the intervals hold together for all stages and checkpoints",
        fails: "a trained encoder can answer a difference of the sides that an untrained one does not",
    },
    Function {
        name: "true_positives",
        title: "True positives",
        formula: "share of training images above the lowest threshold that at most 1 % of unseen images reach; 10 % below \
                  1,000 unseen images; none below 100",
        paper: "Carlini et al. 2022, arXiv 2112.03570; interval: Wilson 1927 for the share, order statistics for the \
                threshold, put together as in Zou and Donner 2008",
        takes: "training and unseen images, or any score of each",
        cost: "n ln n",
        variant: "the intervals hold together by Bonferroni's inequality",
        fails: "as membership; wide where few unseen images lie above the threshold",
    },
    Function {
        name: "memorisation_gap",
        title: "Memorisation gap",
        formula: "mean D_i of unseen images less that of training images, D_i as for membership",
        paper: "Lethe's own, after Wang et al. 2024, arXiv 2401.12233, which compares two encoders",
        takes: "2 views or more of training and of unseen images",
        cost: "n q d",
        variant: "intervals as for membership, on the plain scale",
        fails: "as membership; closes as well when training images are fitted worse: look at d_train",
    },
    Function {
        name: "relative_gap",
        title: "Relative gap",
        formula: "memorisation gap over B, the mean of ||u - u'||^2 between views of different unseen images",
        paper: "Lethe's own",
        takes: "2 views or more of training and of unseen images",
        cost: "n q d",
        variant: "interval by the delta method, from what each image adds to the gap and to B",
        fails: "as the gap",
    },
    Function {
        name: "d_train",
        title: "The parts of the gap",
        formula: "d_train and d_unseen: mean D_i of the two sides; d_between: B",
        paper: "Lethe's own",
        takes: "2 views or more of training and of unseen images",
        cost: "n q d",
        variant: "a gap that closes by generalising lowers d_unseen, one that closes by a worse fit raises d_train",
        fails: "depend on the augmentation",
    },
    Function {
        name: "retrieval_gap",
        title: "Retrieval gap",
        formula: "share of training images whose other view is the nearest of all images of their side, by cosine, less \
                  the share of unseen images; over all ordered pairs of views",
        paper: "Lethe's own; retrieval: Wu et al. 2018, arXiv 1805.01978",
        takes: "2 views or more of training and of unseen images",
        cost: "q^2 n^2 d",
        variant: "galleries of the same size on both sides, by a keyed subset of the larger one; the interval holds the \
                  gallery to be given",
        fails: "0 where all images are found on both sides; depends on the size of the gallery",
    },
    Function {
        name: "class_rate_gap",
        title: "Class rate gap",
        formula: "dR by class of training images less that of unseen ones, the mean over half-samples of both sides",
        paper: "dR: Yu et al. 2020, arXiv 2006.08558; as a sign of over-fitting: Qiang et al. 2024, arXiv 2410.00772; \
                half-samples: McCarthy 1969",
        takes: "labels; as they are, images of both sides",
        cost: "80 n d min(n, d)",
        variant: "the same even number of images of every class on both sides, cut in halves without replacement 20 times; \
                  beside it the placebo, two halves of the unseen side",
        fails: "its placebo is wide: few images say little; differs with eps2, n and d",
    },
    Function {
        name: "shift_test",
        title: "Shift test",
        formula: "AUC with which Fisher's discriminant with a ridge tells held-out images of the two sides apart (5 folds), \
                  and its p by 199 relabellings",
        paper: "Lopez-Paz and Oquab 2017, arXiv 1610.06545; Kim et al. 2021, arXiv 1602.02210",
        takes: "as they are, images of both sides; best in the control and in early stages",
        cost: "n d min(n, d)",
        variant: "the ridge is the mean square of a row's length around the mean",
        fails: "sees a difference of means only; with many images any difference, however small",
    },
    Function {
        name: "class_rate_terms",
        title: "dR by image",
        formula: "dR plus the influence of a row on it; their mean is dR, and their error that of dR to first order",
        paper: "Hampel 1974; Jaeckel 1972",
        takes: "rows and labels",
        cost: "n d min(n, d)",
        variant: "",
        fails: "to first order only: not where an image more or less decides a class",
    },
    Function {
        name: "knn",
        title: "k-NN accuracy",
        formula: "the k rows of greatest cosine c vote with weight exp(c/T), T = 0.1; leave-one-out or against a \
                  bank",
        paper: "Wu et al. 2018, arXiv 1805.01978",
        takes: "labels",
        cost: "n^2 d",
        variant: "a training image may not vote for itself",
        fails: "depends on the size of the bank; blind to what needs a linear map",
    },
    Function {
        name: "linear",
        title: "Linear probe accuracy",
        formula: "multinomial logistic regression on frozen, standardised features, C = 1",
        paper: "Alain and Bengio 2016, arXiv 1610.01644",
        takes: "labels",
        cost: "some hundred passes over the features",
        variant: "fitted on the training images, so there it is always higher",
        fails: "a few images in many dimensions are always told apart",
    },
    Function {
        name: "transfer",
        title: "Transfer",
        formula: "k-NN accuracy (20 neighbours) on labelled images of another kind, with a bank of that kind",
        paper: "Wu et al. 2018, arXiv 1805.01978; why transfer: Wang et al. 2024, arXiv 2401.12233",
        takes: "another data set with labels (`lethe diagnose --transfer`)",
        cost: "passes over those images",
        variant: "",
        fails: "speaks of that data set only",
    },
    Function {
        name: "view_retrieval",
        title: "View retrieval",
        formula: "share of views that lie nearer, by cosine, to the other view of their own image than to that \
                  view of any other",
        paper: "the task of contrastive training: Wu et al. 2018, arXiv 1805.01978",
        takes: "pairs of views; no labels",
        cost: "n^2 d",
        variant: "of unseen images",
        fails: "falls with more images; the task of contrastive methods, which are at an advantage; rewards \
                telling images apart also by what no task needs",
    },
    Function {
        name: "combination",
        title: "Combination",
        formula: "lowest mean rank over the checkpoints of DSE of pooled rows, IdEst and LiDAR",
        paper: "Lethe's own, fixed before it was tried",
        takes: "no labels",
        cost: "that of its parts",
        variant: "",
        fails: "has no interval",
    },
    Function {
        name: "cka",
        title: "Linear CKA",
        formula: "||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F), X and Y the centred rows of the same images; 1 where only a \
                  rotation or a common scale differs; debiased_linear_cka estimates each product without bias",
        paper: "Kornblith et al. 2019, arXiv 1905.00414",
        takes: "two stages, or two checkpoints",
        cost: "n (d + e) min(n, d + e)",
        variant: "of training images",
        fails: "near 1 for any features once n is not well above d; few directions or far rows decide it",
    },
    Function {
        name: "sslmem",
        title: "SSLMem",
        formula: "(b - a)/(max - min), a and b the distances of an image's two views under the encoder and under a \
                  reference; the mean over training images",
        paper: "Wang et al. 2024, arXiv 2401.12233",
        takes: "an encoder trained in the same way without the training images (`lethe diagnose --reference`)",
        cost: "passes over the images",
        variant: "4 pairs of views, where the authors take the image and five views",
        fails: "the two encoders differ by seed too: hold it to the same of unseen images; one far image shrinks \
                all others",
    },
    Function {
        name: "layermem",
        title: "LayerMem",
        formula: "SSLMem of a stage minus that of the stage before",
        paper: "Wang et al. 2024, arXiv 2409.19069",
        takes: "as SSLMem",
        cost: "as SSLMem",
        variant: "",
        fails: "as SSLMem",
    },
    Function {
        name: "batch_gradient_norm_squared",
        title: "Squared length of the batch gradient",
        formula: "mean over batches of view pairs of ||grad loss||^2, for the parameters of a stage",
        paper: "Critical periods, ICLR 2026, openreview UxIRc97ecL",
        takes: "a checkpoint of Lethe with its state (`lethe diagnose --gradients`)",
        cost: "a backward pass a batch",
        variant: "no trace of a Fisher information, which the paper calls it: that is of single images, and a \
                  contrastive loss has no likelihood of one",
        fails: "differs with batch size",
    },
    Function {
        name: "onset",
        title: "Onset",
        formula: "the last epoch at which a difference between training and unseen images has not grown yet; the \
                  95 % interval holds every epoch that a test does not refuse; family-wise p over stages",
        paper: "Lethe's own, inversion of a test over a bootstrap of images: docs/decisions/0004-onset.md",
        takes: "unseen images and checkpoints of several epochs",
        cost: "2000 draws of images",
        variant: "p is of a curve without any rise, over all stages together",
        fails: "no finer than the checkpoints lie; knows the spread of images, not of seeds; the early end of the \
                interval assumes that it sets in abruptly",
    },
    Function {
        name: "best",
        title: "Choice of a checkpoint",
        formula: "the best mean, and the earliest checkpoint that is not measurably worse",
        paper: "docs/decisions/0005-observations.md",
        takes: "a number an image, stage and checkpoint",
        cost: "2000 draws of images",
        variant: "",
        fails: "as good as what it is asked to raise; few images make early checkpoints pass for as good",
    },
    Function {
        name: "kendall",
        title: "Kendall's tau",
        formula: "share of pairs of checkpoints that two scores put in the same order minus the share in the \
                  opposite order",
        paper: "Kendall 1938",
        takes: "labels, to judge the criterion",
        cost: "every pair of checkpoints",
        variant: "against k-NN accuracy on unseen images",
        fails: "a few checkpoints in a row say little: all curves have a trend",
    },
];

/// Two digits, and no time so small that it only says how fast a machine is.
fn seconds_shown(seconds: f64) -> String {
    match seconds {
        ..0.01 => "under 0.01 s".into(),
        ..0.1 => format!("{seconds:.2} s"),
        ..10.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// The page `docs/measures.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Measures\n\nWritten from the tables in `crates/lethe-measures`: `LETHE_BLESS=1 cargo test -p lethe-measures \
         --test laws` rewrites it.\n\n`lethe measure` takes the measures of this section. Rows are `[n, d]`; unit rows \
         have length 1; everything is float64. Compare coding rates and LiDAR only at equal eps2, n and d. A rank says \
         what it is at most: compare ranks only where that is the same too.\n\nA cost is the time that the measure \
         takes by itself on two cores, for 2,000 x 512, 20,000 x 1,024 and 50,000 x 2,048 rows and columns; measures \
         that share work cost less together. Unasked, `lethe measure` takes the measures in the order of this page, each \
         with which all of them stay within 10 s, or within twice what NumPy takes for the singular values where that is \
         more: by a table of costs, never by the clock.\n",
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
            ("Needs", &measure.needs.shown()),
            ("At most", measure.ceiling.map_or("", Ceiling::shown)),
            ("Cost", &SIZES.map(|(n, d)| seconds_shown(measure.seconds(n, d))).join(" / ")),
            ("Variant", measure.variant),
            ("Known failures", measure.fails),
        ];
        entry(&mut page, measure.name, measure.title, &lines);
    }
    page += "\n## Numbers of more than one matrix\n\n`lethe diagnose` takes them.\n";
    for function in FUNCTIONS {
        let lines = [
            ("Formula", function.formula),
            ("Paper", function.paper),
            ("Takes", function.takes),
            ("Cost", function.cost),
            ("Variant", function.variant),
            ("Known failures", function.fails),
        ];
        entry(&mut page, function.name, function.title, &lines);
    }
    page
}

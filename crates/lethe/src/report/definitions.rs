//! What each measure is, how to read it, and where it comes from: the words of the page.

use lethe_measures::{Cost, MEASURES, Measure, Needs};

/// Where in a cell of the diagnosis a measure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// `Cell::memorisation_gap`, `membership`, `reference`.
    Gap,
    /// `Side::accuracy`.
    Accuracy,
    /// `Side::measures`.
    Rows,
    /// `Side::by_class`.
    Classes,
    /// `Side::by_pair`.
    Pairs,
}

impl Group {
    /// The heading of the group's charts, and what they answer.
    pub(super) fn heading(self) -> (&'static str, &'static str) {
        match self {
            Group::Gap => (
                "Does it know its training images?",
                "An encoder that only learned what images have in common treats a new image like one it was trained on. \
                 Where the training images do better, it has memorised them.",
            ),
            Group::Accuracy => (
                "How useful are the features?",
                "Labels are used here only to judge the features; the encoder never saw them. \
                 What counts is the accuracy on unseen images (dashed).",
            ),
            Group::Rows => (
                "How much room do the features fill?",
                "Ranks and rates of the feature matrix, without labels. They follow the whole training and often miss \
                 its best moment, so read them beside the accuracies.",
            ),
            Group::Classes => (
                "Are classes told apart?",
                "The coding rate of all features less that of each class by itself: high when classes lie apart and \
                 each is compact.",
            ),
            Group::Pairs => (
                "Are the views of an image held together?",
                "The same with the two views of one image as a group. It needs no labels, but is nearly the coding \
                 rate itself (see the notes).",
            ),
        }
    }
}

/// What a measure is and where it comes from.
pub(super) struct Definition {
    /// The key in the files; for accuracies what stands before the first dash.
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    pub(super) formula: &'static str,
    pub(super) source: &'static str,
    pub(super) needs: &'static str,
    pub(super) cost: &'static str,
    /// What is settled that the paper leaves open, or done otherwise; empty where nothing is.
    pub(super) variant: &'static str,
    /// Known failures.
    pub(super) fails: &'static str,
}

/// What is no measure of a feature matrix by itself, and so no row of [`MEASURES`].
const OWN: &[Definition] = &[
    Definition {
        key: "memorisation_gap",
        name: "Memorisation gap",
        formula: "alignment distance of unseen images minus that of training images; the intervals are a studentised \
                  bootstrap over images and hold together for all stages and checkpoints",
        source: "Lethe's own, after Wang et al. 2024, arXiv 2401.12233, which compares two encoders",
        needs: "training and unseen images",
        cost: "passes over the images",
        variant: "image i of both sides goes through the same draws of the augmentation",
        fails: "shows a gap too where the two sets of images differ in more than training",
    },
    Definition {
        key: "membership",
        name: "Membership AUC",
        formula: "chance that a training image scores higher than an unseen one, the score being how near its two views \
                  lie; 0.5 is guessing",
        source: "Hanley and McNeil 1982; interval: DeLong et al. 1988; true positives at 1 % false positives: Carlini et al. 2022, \
                 arXiv 2112.03570",
        needs: "training and unseen images",
        cost: "passes over the images",
        variant: "the interval is of each stage and checkpoint by itself; false positives: unseen images taken for training images",
        fails: "a stronger attack may tell more; as the gap, it takes any difference of the two sets for membership",
    },
    Definition {
        key: "knn",
        name: "k-NN accuracy",
        formula: "the k nearest training images by cosine vote with weight exp(cosine / 0.1)",
        source: "Wu et al. 2018, arXiv 1805.01978",
        needs: "labels",
        cost: "every unseen image with every training image",
        variant: "a training image may not vote for itself",
        fails: "differs with the number of training images",
    },
    Definition {
        key: "linear",
        name: "Linear probe accuracy",
        formula: "multinomial logistic regression on frozen, standardised features",
        source: "Alain and Bengio 2016, arXiv 1610.01644",
        needs: "labels",
        cost: "some hundred passes over the features",
        variant: "",
        fails: "the probe is fitted on the training images, so there it is always higher",
    },
    Definition {
        key: "view_retrieval",
        name: "View retrieval",
        formula: "share of views that lie nearer, by cosine, to the other view of their own image than to that of any other \
                  unseen image",
        source: "the task of contrastive training, on unseen images: Wu et al. 2018, arXiv 1805.01978",
        needs: "unseen images; no labels",
        cost: "every pair of views",
        variant: "",
        fails: "rewards telling images apart, also by what no task needs",
    },
    Definition {
        key: "combination",
        name: "Combination",
        formula: "lowest mean rank over the checkpoints of DSE, IdEst and LiDAR",
        source: "Lethe's own, fixed before it was tried",
        needs: "no labels",
        cost: "that of its parts",
        variant: "",
        fails: "has no interval",
    },
    Definition {
        key: "cka",
        name: "Linear CKA",
        formula: "|Y'X|^2 / (|X'X| |Y'Y|), Frobenius norms, X and Y the column-centred features of the same images; 1 where \
                  only a rotation or a common scale differs",
        source: "Kornblith et al. 2019, arXiv 1905.00414",
        needs: "two stages, or two checkpoints",
        cost: "products of the features",
        variant: "of training images",
        fails: "near 1 for any features where images are not well more than columns; a few large directions decide it",
    },
    Definition {
        key: "sslmem",
        name: "SSLMem",
        formula: "distance of an image's two views under the reference minus that under the encoder, over the range of all \
                  images; the mean over training images",
        source: "Wang et al. 2024, arXiv 2401.12233",
        needs: "--reference, an encoder trained in the same way without the training images",
        cost: "passes over the images",
        variant: "two views, where the authors take the image and five views",
        fails: "the two encoders differ by seed too: hold it to the same of unseen images",
    },
    Definition {
        key: "layermem",
        name: "LayerMem",
        formula: "SSLMem of a stage minus that of the stage before",
        source: "Wang et al. 2024, arXiv 2409.19069",
        needs: "as SSLMem",
        cost: "as SSLMem",
        variant: "",
        fails: "as SSLMem",
    },
    Definition {
        key: "onset",
        name: "Onset",
        formula: "the last epoch at which a difference between training and unseen images has not grown yet; the 95 % \
                  interval holds every epoch that a test does not refuse",
        source: "Lethe's own: inversion of a test, over a bootstrap of images",
        needs: "unseen images and checkpoints of several epochs",
        cost: "2000 draws of images",
        variant: "p is of a curve without any rise, over all stages together",
        fails: "no finer than the checkpoints lie; the early end of the interval assumes that it sets in abruptly",
    },
    Definition {
        key: "kendall",
        name: "Kendall's tau",
        formula: "share of pairs of checkpoints that two scores put in the same order minus the share in the opposite order",
        source: "Kendall 1938",
        needs: "labels, to judge the criterion",
        cost: "every pair of checkpoints",
        variant: "against k-NN accuracy on unseen images",
        fails: "a few checkpoints in a row say little: all curves have a trend",
    },
];

/// The formula of every row of [`MEASURES`].
const FORMULAS: &[(&str, &str)] = &[
    ("coding_rate", "R = 1/2 logdet(I + d/(m e2) Z'Z), m unit-length rows of dimension d, natural logarithm"),
    (
        "compressed_rate",
        "R_c = sum over groups j of m_j/(2m) logdet(I + d/(m_j e2) Z_j'Z_j), groups = classes, or the two views of an image",
    ),
    ("coding_rate_reduction", "dR = R - R_c"),
    ("rankme", "exp(-sum p ln p), p = s/sum(s) + 1e-7, s the singular values of the features"),
    ("effective_rank", "exp(-sum p ln p), p = s/sum(s), s the singular values of the column-centred features"),
    (
        "alpha_req",
        "minus the slope of ln l_j on ln j, weights 1/j, j = 10..min(100, d), l the eigenvalues of the covariance",
    ),
    ("uniformity", "ln of the mean over pairs of images of exp(-2 |u_i - u_j|^2), u of unit length"),
    (
        "two_nn",
        "slope of -ln(1 - F(r)) on ln r through the origin, r the distance of an image's second neighbour over that of its first, F their distribution",
    ),
    (
        "silhouette",
        "mean of (b - a)/max(a, b), a the mean distance to an image's own cluster, b that to the nearest other one",
    ),
    ("cluster_stability", "mean adjusted mutual information of pairs of clusterings"),
    ("dse", "distance between clusters less the spread within, plus effective rank"),
    ("idest", "1/(1 - slope of ln(length of the minimum spanning tree) on ln(rows))"),
    ("alignment", "mean over images of |u - u'|^2, u and u' the unit-length features of two views; 0 to 4"),
    (
        "lidar",
        "exp(-sum p ln p), p = l/sum(l) + 1e-8, l the eigenvalues of Sw^-1/2 Sb Sw^-1/2, S the scatter within and between images",
    ),
    (
        "unitmem",
        "mean over units of (max - median)/(max + median), of the mean activations of the images over their views",
    ),
];

/// How to read a curve, in one short sentence.
const READINGS: &[(Group, &str, &str)] = &[
    (
        Group::Gap,
        "memorisation_gap",
        "Above zero: views of training images lie closer together than views of unseen ones.",
    ),
    (Group::Gap, "membership", "Above 0.5: the nearness of its views gives a training image away."),
    (
        Group::Gap,
        "sslmem",
        "Solid well above dashed: it holds training images nearer than an encoder that never saw them.",
    ),
    (
        Group::Gap,
        "alignment",
        "Lower: the two views of an image are nearly one point. The distance of the two lines is the gap.",
    ),
    (Group::Accuracy, "knn", "Higher is better. The number is k; a training image may not vote for itself."),
    (
        Group::Accuracy,
        "linear",
        "Higher is better. The probe is fitted on the training images, so there it is always higher.",
    ),
    (Group::Rows, "coding_rate", "Higher: the features spread over more directions."),
    (Group::Rows, "rankme", "Higher: more directions in use; 1 is collapse, d the most."),
    (Group::Rows, "effective_rank", "As RankMe, around the mean: a constant shared by all features does not count."),
    (Group::Rows, "alpha_req", "How fast the spectrum decays; near 1 is held to be good, large is near collapse."),
    (Group::Rows, "uniformity", "Lower: the features spread more evenly over the sphere."),
    (Group::Rows, "two_nn", "How many dimensions the images fill nearby."),
    (Group::Rows, "silhouette", "Higher: tighter clusters, of whatever kind."),
    (Group::Rows, "cluster_stability", "Higher: clusters that do not depend on where the search begins."),
    (Group::Rows, "dse", "Higher: dense clusters, far apart, in many directions."),
    (Group::Rows, "idest", "Lower: the images fill fewer dimensions."),
    (Group::Classes, "coding_rate_reduction", "Higher: classes lie further apart for their size. Needs labels."),
    (Group::Classes, "compressed_rate", "Lower: each class is more compact."),
    (Group::Pairs, "coding_rate_reduction", "Nearly R itself: a rank measure, not a measure of how well views agree."),
    (Group::Pairs, "compressed_rate", "Lower: the two views agree more. Its whole range is narrow."),
    (Group::Pairs, "coding_rate", "Higher: the views spread over more directions."),
    (Group::Pairs, "lidar", "Higher: more directions in which images differ more than their own views do."),
    (
        Group::Pairs,
        "unitmem",
        "Higher: single units answer to single images. Grows with the number of images; 1 for sparse units.",
    ),
];

/// All definitions, in the order of the page.
pub(super) fn definitions() -> impl Iterator<Item = Definition> {
    OWN.iter().map(|own| Definition { ..*own }).chain(MEASURES.iter().map(of_measure))
}

/// The definition of a key of the files.
pub(super) fn definition(key: &str) -> Option<Definition> {
    let key = match key.split_once('-') {
        Some((stem, _)) => stem,
        None if key.starts_with("cka_") => "cka",
        None => key,
    };
    definitions().find(|d| d.key == key)
}

fn of_measure(measure: &'static Measure) -> Definition {
    Definition {
        key: measure.name,
        name: measure.title,
        formula: FORMULAS.iter().find(|(key, _)| *key == measure.name).map_or("", |(_, formula)| formula),
        source: measure.paper,
        needs: match measure.needs {
            Needs::Rows => "images only",
            Needs::Groups => "labels, or pairs of views",
            Needs::Pairs => "pairs of views",
        },
        cost: match measure.cost {
            Cost::Spectrum => "passes over the features and their spectrum",
            Cost::Clusters => "repeated k-means",
            Cost::Pairs => "every pair of images, in products of matrices",
            Cost::Tree => "every pair of images, one at a time",
        },
        variant: measure.variant,
        fails: measure.fails,
    }
}

/// How to read a measure's curve; nothing of one that this version has no words for.
pub(super) fn reading(group: Group, key: &str) -> &'static str {
    let stem = if group == Group::Accuracy { key.split('-').next().unwrap_or(key) } else { key };
    READINGS.iter().find(|(of, known, _)| *of == group && *known == stem).map_or("", |(.., reading)| reading)
}

/// The measures of a group in the order of the page.
pub(super) fn place(group: Group, key: &str) -> usize {
    let stem = if group == Group::Accuracy { key.split('-').next().unwrap_or(key) } else { key };
    READINGS.iter().position(|(of, known, _)| *of == group && *known == stem).unwrap_or(READINGS.len())
}

/// What a reader must know before drawing conclusions.
pub(super) const NOTES: &[&str] = &[
    "Coding rates depend on the precision e2, the number of rows m and the dimension d. Never compare them across different \
     e2, m or d: not between stages of different width, and not between tools with other settings.",
    "With view pairs as groups, the compressed rate R_c can move by only about 1 to 3 % of the largest R. The coding rate \
     reduction by pair is therefore nearly R itself, a rank measure of the RankMe family; only the one by class compares groups.",
    "Memorising is not bad in itself: some of it can help on new images. A smaller gap is a success only where the accuracy on \
     unseen images holds or rises.",
    "One run is one seed. Differences of the size of the spread between seeds say nothing; repeat with other seeds before \
     relying on them.",
    "Accuracies on training images are leave-one-out for k-NN, but for the linear probe they are those of the images it was fitted on.",
];

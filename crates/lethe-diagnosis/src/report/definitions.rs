//! What each measure is, how to read it, and where it comes from: the words of the page.

use lethe_measures::{FUNCTIONS, Function, MEASURES, Measure};

/// Where in a cell of the diagnosis a measure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// `Cell::memorisation`, `Cell::reference`.
    Gap,
    /// `Side::accuracy`, `Cell::transfer`.
    Accuracy,
    /// `Side::measures`.
    Rows,
    /// `Side::by_class`.
    Classes,
    /// `Side::by_pair`, `Cell::batch_gradient_norm_squared`.
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

/// What a measure is and where it comes from: a row of one of the two tables.
pub(super) struct Definition {
    /// The key in the files; for accuracies what stands before the first dash.
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    pub(super) formula: &'static str,
    pub(super) source: &'static str,
    pub(super) needs: String,
    /// What is settled that the paper leaves open, or done otherwise; empty where nothing is.
    pub(super) variant: &'static str,
    /// Known failures.
    pub(super) fails: &'static str,
}

/// How to read a curve, in one short sentence.
const READINGS: &[(Group, &str, &str)] = &[
    (Group::Gap, "membership", "Above 0.5: training images are told from unseen ones by how close their views lie."),
    (
        Group::Gap,
        "view_distance",
        "Between the views of one image. A gap can open because training images (solid) come closer or unseen ones (dashed) go apart.",
    ),
    (
        Group::Gap,
        "memorisation_gap",
        "Above zero: views of training images lie closer together than views of unseen ones.",
    ),
    (Group::Gap, "relative_gap", "The gap as a share of the distance between images."),
    (Group::Gap, "retrieval_gap", "Above zero: a view of a training image finds its other view more often."),
    (
        Group::Gap,
        "sslmem",
        "Solid well above dashed: it holds training images closer than an encoder that never saw them.",
    ),
    (Group::Gap, "alignment", "Lower: the two views of an image are nearly one point. Uncentred, of the first pair of views."),
    (Group::Accuracy, "knn", "Higher is better. The number is k; a training image may not vote for itself."),
    (
        Group::Accuracy,
        "linear",
        "Higher is better. The probe is fitted on the training images, so there it is always higher.",
    ),
    (Group::Accuracy, "transfer", "Higher is better: what the features are worth for images of another kind."),
    (Group::Rows, "coding_rate", "Higher: the features spread over more directions."),
    (Group::Rows, "rankme", "Higher: more directions in use; 1 is collapse, d the most."),
    (Group::Rows, "effective_rank", "As RankMe, around the mean: a constant shared by all features does not count."),
    (Group::Rows, "alpha_req", "How fast the spectrum decays; near 1 is held to be good, large is near collapse."),
    (Group::Rows, "uniformity", "Lower: the features spread more evenly over the sphere."),
    (Group::Rows, "two_nn", "How many dimensions the images fill nearby."),
    (Group::Rows, "silhouette", "Higher: tighter clusters, of whatever kind."),
    (Group::Rows, "cluster_stability", "Higher: clusters that do not depend on where the search begins."),
    (Group::Rows, "dse_pooled", "Higher: dense clusters, far apart, in many directions."),
    (Group::Rows, "idest", "Lower: the images fill fewer dimensions."),
    (Group::Classes, "coding_rate_reduction", "Higher: classes lie further apart for their size. Needs labels."),
    (Group::Classes, "compressed_rate", "Lower: each class is more compact."),
    (Group::Pairs, "coding_rate_reduction", "Nearly R itself: a rank measure, not a measure of how well views agree."),
    (Group::Pairs, "compressed_rate", "Lower: the two views agree more. Its whole range is narrow."),
    (Group::Pairs, "coding_rate", "Higher: the views spread over more directions."),
    (Group::Pairs, "lidar", "Higher: more directions in which images differ more than their own views do."),
    (
        Group::Pairs,
        "batch_gradient_norm_squared",
        "How much the training's loss still asks of the stage; it settles as a critical period closes.",
    ),
    (
        Group::Pairs,
        "unitmem",
        "Higher: single units answer to single images. Grows with the number of images; 1 for sparse units.",
    ),
];

/// All definitions, in the order of the page.
pub(super) fn definitions() -> impl Iterator<Item = Definition> {
    let function = |f: &'static Function| Definition {
        key: f.name,
        name: f.title,
        formula: f.formula,
        source: f.paper,
        needs: f.takes.into(),
        variant: f.variant,
        fails: f.fails,
    };
    let measure = |m: &'static Measure| Definition {
        key: m.name,
        name: m.title,
        formula: m.formula,
        source: m.paper,
        needs: m.needs.shown(),
        variant: m.variant,
        fails: m.fails,
    };
    FUNCTIONS.iter().map(function).chain(MEASURES.iter().map(measure))
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

/// The name of a criterion, the short one where it has two: "DSE".
pub(super) fn criterion_name(key: &str) -> String {
    let Some(known) = definition(key) else { return key.into() };
    let within = known.name.split_once('(').and_then(|(_, rest)| rest.split([',', ')']).next());
    match key.split_once('-') {
        Some((_, detail)) => format!("{} ({detail})", known.name),
        None => within.unwrap_or(known.name).into(),
    }
}

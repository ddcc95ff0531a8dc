//! What each measure is, how to read it, and where it comes from: the words of the page.

use lethe_measures::{MEASURES, Measure};

/// Where in a cell of the diagnosis a measure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// `Cell::memorisation`, `Cell::reference`.
    Memory,
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
            Group::Memory => (
                "Does it know its training images?",
                "An encoder that only learned what images have in common treats an unseen image like one it was \
                 trained on. It has memorised where training images are told from unseen ones better than by chance, \
                 and better than the control tells them apart.",
            ),
            Group::Accuracy => (
                "How useful are the features?",
                "Labels are used here only to judge the features; the encoder never saw them. \
                 The accuracy on unseen images (dashed) counts.",
            ),
            Group::Rows => (
                "How much room do the features fill?",
                "These are ranks and rates of the feature matrix, without labels. They follow the whole training and \
                 often miss its best moment, so read them beside the accuracies.",
            ),
            Group::Classes => (
                "Are classes told apart?",
                "The coding rate of all features, less that of each class by itself, is high where classes lie apart \
                 and each is compact.",
            ),
            Group::Pairs => (
                "Are the views of an image held together?",
                "These are rates with the first two views of an image as a group. They need no labels, but the \
                 reduction is nearly the coding rate itself (see the notes).",
            ),
        }
    }
}

/// What a number is and where it comes from.
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

/// A number of the diagnosis that takes more than one matrix of features.
struct Number {
    key: &'static str,
    name: &'static str,
    formula: &'static str,
    source: &'static str,
    needs: &'static str,
    variant: &'static str,
    fails: &'static str,
}

/// All numbers that are no row of [`MEASURES`].
const NUMBERS: &[Number] = &[
    Number {
        key: "membership",
        name: "Membership AUC",
        formula: "chance that the views of a training image lie closer together than those of an unseen one: the area \
                  under the ROC curve of -D; 0.5 is chance",
        source: "Hanley and McNeil 1982; interval: DeLong et al. 1988",
        needs: "training and unseen images, two or more views of each",
        variant: "it decides whether memorisation is seen; the intervals are made on the logit scale and hold together \
                  for all stages and checkpoints; they know one encoder, not the spread of seeds",
        fails: "takes any difference of the two sides for membership, so compare it with the control; a stronger \
                attack may tell more",
    },
    Number {
        key: "true_positives",
        name: "Training images found at few false positives",
        formula: "share of training images whose D lies below that of all but 1 % (or 10 %) of the unseen images",
        source: "Carlini et al. 2022, arXiv 2112.03570",
        needs: "1,000 unseen images for 1 %, 100 for 10 %",
        variant: "the interval holds the error of the threshold too",
        fails: "few unseen images decide the threshold",
    },
    Number {
        key: "view_distance",
        name: "Distance of views D",
        formula: "D_i, the mean of ||u - u'||^2 over all pairs of views of image i, u the features less the mean over \
                  all images of both sides, scaled to unit length",
        source: "Wang and Isola 2020, arXiv 2005.10242; centring: Lethe's own",
        needs: "training and unseen images, two or more views of each",
        variant: "image i of both sides goes through the same draws of the augmentation",
        fails: "depends on the augmentation",
    },
    Number {
        key: "memorisation_gap",
        name: "Memorisation gap",
        formula: "mean D of unseen images less mean D of training images",
        source: "Lethe's own, after Wang et al. 2024, arXiv 2401.12233, which compares two encoders",
        needs: "training and unseen images, two or more views of each",
        variant: "a size, not a verdict: membership decides",
        fails: "closes where training images fit worse, too, so look at both distances; shows a gap where the two \
                sides differ in more than training",
    },
    Number {
        key: "relative_gap",
        name: "Relative gap",
        formula: "memorisation gap / B, B the mean of ||u - u'||^2 between views of different unseen images",
        source: "Lethe's own",
        needs: "training and unseen images, two or more views of each",
        variant: "absent where all views lie at one place",
        fails: "as the memorisation gap",
    },
    Number {
        key: "retrieval_gap",
        name: "Retrieval gap",
        formula: "share of training images that are found by another of their views among their side, less that of \
                  unseen images",
        source: "the task of contrastive training: Wu et al. 2018, arXiv 1805.01978",
        needs: "training and unseen images, two or more views of each",
        variant: "galleries of the same size on both sides, all ordered pairs of views",
        fails: "is near zero where nearly all views are found on both sides",
    },
    Number {
        key: "loss_gap",
        name: "Loss gap",
        formula: "the method's own loss on unseen images less that on training images",
        source: "the plainest measure of over-fitting",
        needs: "a checkpoint with its head",
        variant: "the trained head in evaluation mode, batches of one size and number on both sides; an interval from \
                  8 batches on",
        fails: "is not comparable between methods, nor between batch sizes",
    },
    Number {
        key: "class_rate_gap",
        name: "Class dR gap",
        formula: "coding rate reduction by class of training images less that of unseen ones",
        source: "Yu et al. 2020, arXiv 2006.08558; the indicator of Qiang et al. 2024, arXiv 2410.00772",
        needs: "labels on both sides",
        variant: "equal counts of every class, half-samples of both sides; beside it the same number of two halves of \
                  the unseen images, which only chance tells apart",
        fails: "says nothing where it is no larger than that of the two halves",
    },
    Number {
        key: "knn",
        name: "k-NN accuracy",
        formula: "the k rows of greatest cosine c vote with weight exp(c/T), T = 0.1; leave-one-out or against a bank",
        source: "Wu et al. 2018, arXiv 1805.01978",
        needs: "labels",
        variant: "a training image may not vote for itself",
        fails: "depends on the size of the bank; blind to what needs a linear map",
    },
    Number {
        key: "linear",
        name: "Linear probe accuracy",
        formula: "multinomial logistic regression on frozen, standardised features, C = 1",
        source: "Alain and Bengio 2016, arXiv 1610.01644",
        needs: "labels",
        variant: "fitted on the training images, so there it is always higher",
        fails: "a few images in many dimensions are always told apart",
    },
    Number {
        key: "transfer",
        name: "Transfer",
        formula: "k-NN accuracy (20 neighbours) on labelled images of another kind, with a bank of that kind",
        source: "Wu et al. 2018, arXiv 1805.01978; why transfer: Wang et al. 2024, arXiv 2401.12233",
        needs: "another data set with labels (`lethe diagnose --transfer`)",
        variant: "",
        fails: "speaks of that data set only",
    },
    Number {
        key: "view_retrieval",
        name: "View retrieval",
        formula: "share of views that lie nearer, by cosine, to another view of their own image than to that view of \
                  any other",
        source: "the task of contrastive training: Wu et al. 2018, arXiv 1805.01978",
        needs: "two or more views of each image; no labels",
        variant: "of unseen images",
        fails: "falls with more images; favours contrastive methods, whose task it is; rewards telling images apart \
                also by what no task needs",
    },
    Number {
        key: "combination",
        name: "Combination",
        formula: "lowest mean rank over the checkpoints of DSE of pooled rows, IdEst and LiDAR",
        source: "Lethe's own, fixed before it was tried",
        needs: "no labels, 10 views or more",
        variant: "",
        fails: "has no interval",
    },
    Number {
        key: "cka",
        name: "Linear CKA",
        formula: "||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F), X and Y the centred rows of the same images; 1 where only a \
                  rotation or a common scale differs",
        source: "Kornblith et al. 2019, arXiv 1905.00414",
        needs: "two stages, or two checkpoints",
        variant: "of training images",
        fails: "near 1 for any features once n is not well above d; few directions or far rows decide it",
    },
    Number {
        key: "sslmem",
        name: "SSLMem",
        formula: "(b - a)/(max - min), a and b the distances of an image's views under the encoder and under a \
                  reference; the mean over training images",
        source: "Wang et al. 2024, arXiv 2401.12233",
        needs: "an encoder trained in the same way without the training images (`lethe diagnose --reference`)",
        variant: "the distance is the root of D, where the authors take the mean distance of the image and five views, \
                  uncentred",
        fails: "the two encoders differ by seed too, so compare it with that of unseen images; one far image shrinks \
                all others",
    },
    Number {
        key: "layermem",
        name: "LayerMem",
        formula: "SSLMem of a stage less that of the stage before",
        source: "Wang et al. 2024, arXiv 2409.19069",
        needs: "as SSLMem",
        variant: "",
        fails: "as SSLMem",
    },
    Number {
        key: "batch_gradient_norm_squared",
        name: "Squared length of the batch gradient",
        formula: "mean over batches of view pairs of ||grad loss||^2, for the parameters of a stage",
        source: "Critical periods, ICLR 2026, openreview UxIRc97ecL",
        needs: "a checkpoint of Lethe with its state (`lethe diagnose --gradients`)",
        variant: "no trace of a Fisher information, which the paper calls it: that is of single images, and a \
                  contrastive loss has no likelihood of one",
        fails: "differs with batch size",
    },
    Number {
        key: "onset",
        name: "Onset",
        formula: "the last epoch at which a difference between training and unseen images has not grown yet; the 95 % \
                  interval holds every epoch that a test does not refuse; family-wise p over stages",
        source: "Lethe's own, inversion of a test over a bootstrap of images: docs/decisions/0004-onset.md",
        needs: "unseen images and checkpoints of several epochs",
        variant: "that of memorisation is the onset of the memorisation gap, named only in stages where membership is \
                  seen afterwards; p is of a curve without any rise, over all stages together",
        fails: "no finer than the checkpoints lie; knows the spread of images, not of seeds; the early end of the \
                interval assumes that it sets in abruptly",
    },
    Number {
        key: "best",
        name: "Choice of a checkpoint",
        formula: "the best mean among the trained checkpoints, and the earliest one that is shown to be at most a \
                  margin worse",
        source: "docs/decisions/0005-observations.md",
        needs: "a number of each image, stage and checkpoint",
        variant: "the upper end of the interval of what is lost lies within the margin (`--margin`)",
        fails: "as good as the number that it is asked to raise; few images can show a wide margin only",
    },
    Number {
        key: "kendall",
        name: "Kendall's tau",
        formula: "share of pairs of checkpoints that two scores put in the same order, less the share in the opposite \
                  order",
        source: "Kendall 1938",
        needs: "labels, to judge the criterion",
        variant: "against k-NN accuracy on unseen images",
        fails: "a few checkpoints in a row say little: all curves have a trend",
    },
];

/// How to read a curve, in one short sentence.
const READINGS: &[(Group, &str, &str)] = &[
    (
        Group::Memory,
        "membership",
        "Above 0.5: training images are told from unseen ones by how close together their views lie.",
    ),
    (
        Group::Memory,
        "view_distance",
        "A gap can open because the views of training images (solid) come closer, or because those of unseen ones \
         (dashed) go apart.",
    ),
    (
        Group::Memory,
        "memorisation_gap",
        "Above zero: views of training images lie closer together than views of unseen ones.",
    ),
    (Group::Memory, "relative_gap", "The gap as a share of the distance between images."),
    (Group::Memory, "retrieval_gap", "Above zero: a view of a training image finds its other view more often."),
    (
        Group::Memory,
        "sslmem",
        "Solid well above dashed: it holds training images closer than an encoder that never saw them.",
    ),
    (
        Group::Memory,
        "alignment",
        "Lower: the first two views of an image are nearly one point. The features are not centred.",
    ),
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
    (Group::Rows, "stable_rank", "Higher: no single direction holds most of the length."),
    (Group::Rows, "nesum", "Higher: the variance is spread over more directions."),
    (Group::Rows, "alpha_req", "How fast the spectrum decays; near 1 is held to be good, large is near collapse."),
    (Group::Rows, "uniformity", "Lower: the features spread more evenly over the sphere."),
    (Group::Rows, "self_cluster", "Higher: the features fill less of the sphere."),
    (Group::Rows, "clid", "Higher: clusters that neighbours can name, in more dimensions."),
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
    let number = |n: &'static Number| Definition {
        key: n.key,
        name: n.name,
        formula: n.formula,
        source: n.source,
        needs: n.needs.into(),
        variant: n.variant,
        fails: n.fails,
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
    NUMBERS.iter().map(number).chain(MEASURES.iter().map(measure))
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
    "Coding rates depend on the precision e2, the number of rows m and the dimension d. Never compare them across \
     different e2, m or d: not between stages of different width, and not between tools with other settings.",
    "With view pairs as groups, the compressed rate R_c can move by only about 1 to 3 % of the largest R. The coding \
     rate reduction by pair is therefore nearly R itself, a rank measure of the RankMe family; only the one by class \
     compares groups.",
    "A control tells the two sides apart, too, where they hold images of different kind. So memorisation is said only \
     where the encoder does better than the control, and where the sides are a random split or the control is an \
     encoder that never saw them.",
    "A smaller memorisation gap is no proof of less memorisation: it shrinks as well where all features contract. \
     Membership does not change with a common scale, and it decides.",
    "Memorising is not bad in itself: some of it can help on unseen images. Less of it is a success only where the \
     features stay useful for unseen images.",
    "One run is one seed. Differences of the size of the spread between seeds say nothing; repeat with other seeds \
     before relying on them.",
    "Accuracies on training images are leave-one-out for k-NN, but for the linear probe they are those of the images \
     it was fitted on.",
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

//! What each measure is, how to read it, and where it comes from: the words of the page.

/// Where in a cell of the diagnosis a measure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// `Cell::memorisation_gap`.
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

pub(super) struct Definition {
    pub(super) group: Group,
    /// The key in `diagnosis.json`; for accuracies what stands before the first dash.
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    /// How to read the curve, in one short sentence.
    pub(super) reading: &'static str,
    pub(super) formula: &'static str,
    pub(super) source: &'static str,
}

const MCR2: &str = "Yu, Chan, You, Song, Ma: Learning Diverse and Discriminative Representations via the Principle of \
                    Maximal Coding Rate Reduction, NeurIPS 2020, arxiv.org/abs/2006.08558";
const UNIFORMITY: &str = "Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity \
                          on the Hypersphere, ICML 2020, arxiv.org/abs/2005.10242";

/// In the order of the page.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        group: Group::Gap,
        key: "memorisation_gap",
        name: "Memorisation gap",
        reading: "Above zero: views of training images lie closer together than views of unseen ones.",
        formula: "alignment on unseen images minus alignment on training images",
        source: "Lethe's own, after Wang et al.: Memorization in Self-Supervised Learning Improves Downstream \
                 Generalization, ICLR 2024, arxiv.org/abs/2401.12233 (which compares two encoders)",
    },
    Definition {
        group: Group::Gap,
        key: "alignment",
        name: "Alignment distance",
        reading: "Lower: the two views of an image are nearly one point. The distance of the two lines is the gap.",
        formula: "mean over images of |u - u'|^2, u and u' the unit-length features of two views; 0 to 4",
        source: UNIFORMITY,
    },
    Definition {
        group: Group::Accuracy,
        key: "knn",
        name: "k-NN accuracy",
        reading: "Higher is better. The number is k; a training image may not vote for itself.",
        formula: "the k nearest training images by cosine vote with weight exp(cosine / 0.1)",
        source: "Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, \
                 arxiv.org/abs/1805.01978",
    },
    Definition {
        group: Group::Accuracy,
        key: "linear",
        name: "Linear probe accuracy",
        reading: "Higher is better. The probe is fitted on the training images, so there it is always higher.",
        formula: "multinomial logistic regression on frozen, standardised features",
        source: "Alain, Bengio: Understanding intermediate layers using linear classifier probes, 2016, arxiv.org/abs/1610.01644",
    },
    Definition {
        group: Group::Rows,
        key: "coding_rate",
        name: "Coding rate R",
        reading: "Higher: the features spread over more directions.",
        formula: "R = 1/2 logdet(I + d/(m e2) Z'Z), m unit-length rows of dimension d, natural logarithm",
        source: MCR2,
    },
    Definition {
        group: Group::Rows,
        key: "rankme",
        name: "RankMe",
        reading: "Higher: more directions in use; 1 is collapse, d the most.",
        formula: "exp(-sum p ln p), p = s/sum(s) + 1e-7, s the singular values of the features",
        source: "Garrido, Balestriero, Najman, LeCun: RankMe, ICML 2023, arxiv.org/abs/2210.02885",
    },
    Definition {
        group: Group::Rows,
        key: "effective_rank",
        name: "Effective rank",
        reading: "As RankMe, around the mean: a constant shared by all features does not count.",
        formula: "exp(-sum p ln p), p = s/sum(s), s the singular values of the column-centred features",
        source: "Roy, Vetterli: The effective rank: a measure of effective dimensionality, EUSIPCO 2007",
    },
    Definition {
        group: Group::Rows,
        key: "alpha_req",
        name: "alpha-ReQ",
        reading: "How fast the spectrum decays; near 1 is held to be good, large is near collapse.",
        formula: "minus the slope of ln l_j on ln j, weights 1/j, j = 10..min(100, d), l the eigenvalues of the covariance",
        source: "Agrawal, Mondal, Ghosh, Richards: alpha-ReQ, NeurIPS 2022",
    },
    Definition {
        group: Group::Rows,
        key: "uniformity",
        name: "Uniformity",
        reading: "Lower: the features spread more evenly over the sphere.",
        formula: "ln of the mean over pairs of images of exp(-2 |u_i - u_j|^2), u of unit length",
        source: UNIFORMITY,
    },
    Definition {
        group: Group::Classes,
        key: "coding_rate_reduction",
        name: "Coding rate reduction by class",
        reading: "Higher: classes lie further apart for their size. Needs labels.",
        formula: "dR = R - R_c, groups = class labels",
        source: MCR2,
    },
    Definition {
        group: Group::Classes,
        key: "compressed_rate",
        name: "Compressed rate R_c by class",
        reading: "Lower: each class is more compact.",
        formula: "R_c = sum over groups j of m_j/(2m) logdet(I + d/(m_j e2) Z_j'Z_j)",
        source: MCR2,
    },
    Definition {
        group: Group::Pairs,
        key: "coding_rate_reduction",
        name: "Coding rate reduction by pair",
        reading: "Nearly R itself: a rank measure, not a measure of how well views agree.",
        formula: "dR = R - R_c, groups = the two views of an image",
        source: MCR2,
    },
    Definition {
        group: Group::Pairs,
        key: "compressed_rate",
        name: "Compressed rate R_c by pair",
        reading: "Lower: the two views agree more. Its whole range is narrow.",
        formula: "mean over images of 1/2 ln((1+k)^2 - (k c)^2), k = d/(2 e2), c the cosine of the two views",
        source: MCR2,
    },
    Definition {
        group: Group::Pairs,
        key: "coding_rate",
        name: "Coding rate R of all views",
        reading: "Higher: the views spread over more directions.",
        formula: "R over the views of all images",
        source: MCR2,
    },
    Definition {
        group: Group::Pairs,
        key: "lidar",
        name: "LiDAR",
        reading: "Higher: more directions in which images differ more than their own views do.",
        formula: "exp entropy of p = l/sum(l) + 1e-8, l the eigenvalues of Sw^-1/2 Sb Sw^-1/2",
        source: "Thilak et al.: LiDAR, ICLR 2024, arxiv.org/abs/2312.04000",
    },
    Definition {
        group: Group::Pairs,
        key: "unitmem",
        name: "UnitMem",
        reading: "Higher: single units answer to single images. Grows with the number of images; 1 for sparse units.",
        formula: "mean over units of (max - median)/(max + median), of the mean activations of the images over their views",
        source: "Wang, Dziedzic, Backes, Boenisch: Localizing Memorization in SSL Vision Encoders, NeurIPS 2024, \
                 arxiv.org/abs/2409.19069",
    },
];

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

pub(super) fn definition(group: Group, key: &str) -> Option<&'static Definition> {
    let stem = if group == Group::Accuracy { key.split('-').next().unwrap_or(key) } else { key };
    DEFINITIONS.iter().find(|d| d.group == group && d.key == stem)
}

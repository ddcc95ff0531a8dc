//! The table of measures.

use crate::costs::Step;
use crate::error::Result;
use crate::lidar::LEAST_VIEWS;
use crate::rows::{Groups, Rows, SEED};
use crate::{
    alignment, alpha_req, clid, cluster_stability, dse_pooled, effective_rank, idest, lidar, nesum, rankme,
    self_cluster, silhouette, stable_rank, uniformity, unitmem,
};

/// Clusters of the paper's groups of eight images.
const DSE_CLUSTERS: usize = 24;

/// The groups without which a measure has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Rows,
    /// Class labels or views.
    Groups,
    /// At least so many views of every image.
    Views(usize),
}

impl Needs {
    /// For people.
    pub fn shown(self) -> String {
        match self {
            Needs::Rows => "rows".into(),
            Needs::Groups => "labels or views".into(),
            Needs::Views(least) => format!("{least} views or more"),
        }
    }

    /// Whether rows with these groups have what is needed.
    pub fn met_by(self, groups: Groups) -> bool {
        match (self, groups) {
            (Needs::Rows, _) => true,
            (Needs::Groups, groups) => !matches!(groups, Groups::None),
            (Needs::Views(least), Groups::Views(views)) => views >= least,
            (Needs::Views(_), _) => false,
        }
    }
}

/// The most that a rank can be, whatever the rows hold. RankMe and LiDAR may exceed it in the sixth digit, by what
/// their papers add to every share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// n rows of d columns.
    Rows,
    /// n rows around their mean.
    CentredRows,
    /// The means of the images around their mean.
    CentredImages,
}

impl Ceiling {
    /// For these rows.
    pub fn of(self, rows: &Rows) -> usize {
        let (n, d) = rows.z.dim();
        match (self, rows.groups) {
            (Ceiling::Rows, _) => n.min(d),
            (Ceiling::CentredImages, Groups::Views(views)) => (n / views - 1).min(d),
            (Ceiling::CentredRows | Ceiling::CentredImages, _) => (n - 1).min(d),
        }
    }

    /// For people.
    pub fn shown(self) -> &'static str {
        match self {
            Ceiling::Rows => "min(n, d)",
            Ceiling::CentredRows => "min(n - 1, d)",
            Ceiling::CentredImages => "min(images - 1, d)",
        }
    }
}

pub struct Measure {
    /// The key in JSON.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// In words or plain mathematics.
    pub formula: &'static str,
    pub paper: &'static str,
    pub needs: Needs,
    /// What it takes to compute, for [`affordable`](crate::affordable()).
    pub steps: &'static [Step],
    /// Of a rank: what it cannot exceed.
    pub ceiling: Option<Ceiling>,
    /// What this row of the table settles that the paper leaves open, or does otherwise; empty where nothing is.
    pub variant: &'static str,
    /// Known failures.
    pub fails: &'static str,
    pub of: fn(&Rows) -> Result<f64>,
}

const MCR2: &str = "Yu et al. 2020, arXiv 2006.08558";
const WANG_ISOLA: &str = "Wang and Isola 2020, arXiv 2005.10242";

/// All measures of a feature matrix.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "coding_rate",
        title: "Coding rate R",
        formula: "R = 1/2 ln det(I + d/(n eps2) Z'Z), unit rows Z, in nats",
        paper: MCR2,
        needs: Needs::Rows,
        steps: &[Step::UnitGram, Step::Determinant],
        ceiling: None,
        variant: "",
        fails: "a rank measure: follows the whole training; differs with eps2, rows and columns",
        of: |rows| rows.coding_rate(),
    },
    Measure {
        name: "compressed_rate",
        title: "Compressed rate R_c",
        formula: "R_c = sum over groups j of n_j/(2n) ln det(I + d/(n_j eps2) Zj'Zj), unit rows, a group a class or \
                  the views of an image; of pairs in closed form: mean of 1/2 ln((1+k)^2 - (kc)^2), k = d/(2 eps2), c \
                  the pair's cosine",
        paper: MCR2,
        needs: Needs::Groups,
        steps: &[Step::Groups],
        ceiling: None,
        variant: "",
        fails: "by views it moves by 1 to 3 % of the largest R only; differs with eps2, rows and columns",
        of: |rows| rows.compressed_rate(),
    },
    Measure {
        name: "coding_rate_reduction",
        title: "Coding rate reduction dR",
        formula: "dR = R - R_c",
        paper: MCR2,
        needs: Needs::Groups,
        steps: &[Step::UnitGram, Step::Determinant, Step::Groups],
        ceiling: None,
        variant: "",
        fails: "by views it is nearly R itself; differs with eps2, rows and columns",
        of: |rows| Ok(rows.coding_rate()? - rows.compressed_rate()?),
    },
    Measure {
        name: "rankme",
        title: "RankMe",
        formula: "exp(-sum p ln p), p = s/sum(s) + 1e-7, s the singular values of the raw rows",
        paper: "Garrido et al. 2023, arXiv 2210.02885",
        needs: Needs::Rows,
        steps: &[Step::Spectra],
        ceiling: Some(Ceiling::Rows),
        variant: "",
        fails: "compares runs of one method only; rises to the end of training; an offset shared by all rows lowers it",
        of: rankme::of_rows,
    },
    Measure {
        name: "effective_rank",
        title: "Effective rank",
        formula: "exp(-sum p ln p), p = s/sum(s), s the singular values of the centred rows",
        paper: "Roy and Vetterli 2007, EUSIPCO",
        needs: Needs::Rows,
        steps: &[Step::Spectra],
        ceiling: Some(Ceiling::CentredRows),
        variant: "of the column-centred rows",
        fails: "may rise while accuracy falls (I-JEPA); noise counts as directions",
        of: effective_rank::of_rows,
    },
    Measure {
        name: "stable_rank",
        title: "Stable rank",
        formula: "sum(s^2)/s_1^2, s the singular values of the raw rows, s_1 the largest",
        paper: "Rudelson and Vershynin 2007; for embeddings: Tsitsulin et al. 2023, arXiv 2305.16562",
        needs: Needs::Rows,
        steps: &[Step::Spectra],
        ceiling: Some(Ceiling::Rows),
        variant: "",
        fails: "falls to 1 with an offset that all rows share; one long direction decides it",
        of: stable_rank::of_rows,
    },
    Measure {
        name: "nesum",
        title: "Sum of normalised eigenvalues (NESum)",
        formula: "sum(l)/l_1, l the eigenvalues of the centred covariance, l_1 the largest",
        paper: "He and Ozay 2022, ICML",
        needs: Needs::Rows,
        steps: &[Step::Spectra],
        ceiling: Some(Ceiling::CentredRows),
        variant: "",
        fails: "one long direction decides it; whitened noise has the highest value",
        of: nesum::of_rows,
    },
    Measure {
        name: "alpha_req",
        title: "alpha-ReQ",
        formula: "minus the slope of ln l_j on ln j, weights 1/j, j = 10..min(100, d), l the eigenvalues of the \
                  centred covariance",
        paper: "Agrawal et al. 2022, NeurIPS",
        needs: Needs::Rows,
        steps: &[Step::Spectra],
        ceiling: None,
        variant: "eigenvalues 10 to 100",
        fails: "its correlation with accuracy changes sign with the range of the fit; needs a power law",
        of: alpha_req::of_rows,
    },
    Measure {
        name: "lidar",
        title: "LiDAR",
        formula: "exp(-sum p ln p), p = l/sum(l) + 1e-8, l = eig(Sw^-1/2 Sb Sw^-1/2), Sb between images, Sw within",
        paper: "Thilak et al. 2024, arXiv 2312.04000",
        needs: Needs::Views(LEAST_VIEWS),
        steps: &[Step::Whitening],
        ceiling: Some(Ceiling::CentredImages),
        variant: "10 views or more, 1e-4 on the diagonal within",
        fails: "differs with the scale of the rows, views and columns; needs more images than columns",
        of: lidar::of_rows,
    },
    Measure {
        name: "uniformity",
        title: "Uniformity",
        formula: "ln of the mean over i < j of exp(-2 ||u_i - u_j||^2), unit rows u",
        paper: WANG_ISOLA,
        needs: Needs::Rows,
        steps: &[Step::Pairs],
        ceiling: None,
        variant: "",
        fails: "random features are the most uniform; says nothing without alignment",
        of: uniformity::of_rows,
    },
    Measure {
        name: "self_cluster",
        title: "Self-clustering (SelfCluster)",
        formula: "(Q - E)/(n^2 - E), Q the sum of squared cosines over all pairs of rows, each row with itself \
                  included, E = n + n(n - 1)/d the mean of Q for evenly spread rows",
        paper: "Tsitsulin et al. 2023, arXiv 2305.16562",
        needs: Needs::Rows,
        steps: &[Step::UnitGram],
        ceiling: None,
        variant: "",
        fails: "tells how much of the sphere is empty, not clusters: a cone that all rows share raises it",
        of: self_cluster::of_rows,
    },
    Measure {
        name: "two_nn",
        title: "Intrinsic dimension (TwoNN)",
        formula: "slope through the origin of -ln(1 - F) on ln mu, mu the ratio of the distances to the second and \
                  first neighbour",
        paper: "Facco et al. 2017, arXiv 1803.06992",
        needs: Needs::Rows,
        steps: &[Step::Copies, Step::Pairs],
        ceiling: None,
        variant: "raw rows, of copies the first only, the largest 10 % of ratios left out, line through the origin",
        fails: "too low above some 20 dimensions; noise counts as dimensions; views of one image lower it",
        of: |rows| rows.two_nn(),
    },
    Measure {
        name: "silhouette",
        title: "Silhouette of clusters",
        formula: "mean of (b - a)/max(a, b), a the mean distance to the row's own cluster, b that to the nearest other",
        paper: "Rousseeuw 1987; Xu et al. 2024, arXiv 2409.06612",
        needs: Needs::Rows,
        steps: &[Step::Clusterings, Step::Pairs],
        ceiling: None,
        variant: "unit rows, the tightest of 5 runs of k-means in 10 clusters, seed 0",
        fails: "collapsed rows score high; follows accuracy for SimCLR and MoCo-v2 but not for SimSiam",
        of: silhouette::of_rows,
    },
    Measure {
        name: "cluster_stability",
        title: "Agreement of repeated clusterings",
        formula: "mean adjusted mutual information over all pairs of repeated k-means",
        paper: "Xu et al. 2024, arXiv 2409.06612",
        needs: Needs::Rows,
        steps: &[Step::Clusterings],
        ceiling: None,
        variant: "unit rows, mean adjusted mutual information of 5 runs of k-means in 10 clusters, seed 0",
        fails: "collapsed rows agree too; follows accuracy for SimCLR and MoCo-v2 but not for SimSiam",
        of: cluster_stability::of_rows,
    },
    Measure {
        name: "dse_pooled",
        title: "Dense structure estimate (DSE), of pooled rows",
        formula: "M_inter + M_dim - M_intra: distance to the nearest other centre, effective rank over min(n, d), \
                  singular values within clusters",
        paper: "Dai et al. 2025, arXiv 2510.17299",
        needs: Needs::Rows,
        steps: &[Step::UnitGram, Step::DenseClusters],
        ceiling: None,
        variant: "Lethe's own for pooled unit rows, not the paper's: 24 clusters, seed 0, no part within images",
        fails: "differs with rows and columns; jumps with the clusters found; untested on pooled rows by its authors",
        of: |rows| dse_pooled::of_rows(rows, DSE_CLUSTERS, SEED),
    },
    Measure {
        name: "clid",
        title: "Cluster learnability and intrinsic dimension (CLID)",
        formula: "CL + ID/d, CL the share of rows whose nearest row of the other half, by cosine, is of their own \
                  cluster, ID by TwoNN",
        paper: "Lu et al. 2023, arXiv 2206.01251",
        needs: Needs::Rows,
        steps: &[Step::Copies, Step::Pairs, Step::Learnability],
        ceiling: None,
        variant: "unit rows in floor(sqrt(n)) clusters by k-means, a random half predicts the other, seed 0; ID over \
                  d, where the paper compares many models",
        fails: "random rows have a high dimension; differs with rows and columns; copies of rows predict themselves; \
                as TwoNN",
        of: |rows| clid::of_rows(rows, SEED),
    },
    Measure {
        name: "idest",
        title: "Intrinsic dimension (IdEst, minimum spanning trees)",
        formula: "1/(1 - a), a the slope of ln L on ln m, L the length of the minimum spanning tree of m rows",
        paper: "Mordacq et al. 2026, arXiv 2606.03338",
        needs: Needs::Rows,
        steps: &[Step::Copies, Step::Trees],
        ceiling: None,
        variant: "raw rows, of copies the first only, trees of n, n/2, n/4, n/8 and n/16 rows, 5 subsamples of each size \
                  below n, seed 0",
        fails: "blind in the first epochs; falls with epochs for VICReg, DINO, I-JEPA; too low above some 10",
        of: |rows| idest::of_rows(rows, SEED),
    },
    Measure {
        name: "alignment",
        title: "Alignment distance",
        formula: "mean of ||u - u'||^2 over all pairs of views of an image, unit rows",
        paper: WANG_ISOLA,
        needs: Needs::Views(2),
        steps: &[Step::Views],
        ceiling: None,
        variant: "",
        fails: "0 for collapsed rows; says nothing without uniformity; depends on the augmentation",
        of: alignment::of_rows,
    },
    Measure {
        name: "unitmem",
        title: "UnitMem",
        formula: "mean over units of (max - median of the others)/(max + median), of an image's mean activation over \
                  its views",
        paper: "Wang et al. 2024, arXiv 2409.19069",
        needs: Needs::Views(2),
        steps: &[Step::Views],
        ceiling: None,
        variant: "mean over units, of the views there are where the paper takes 10, median of the other images",
        fails: "grows with the number of images; sparse units read 1; undefined for signed features",
        of: unitmem::of_rows,
    },
];

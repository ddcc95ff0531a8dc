//! The table of measures.

use crate::error::Result;
use crate::rows::{Groups, Rows, SEED};
use crate::{
    alignment, alpha_req, cluster_stability, dse, effective_rank, idest, lidar, rankme, silhouette, two_nn, uniformity,
    unitmem,
};

/// Multiplications that a measure may take unasked: some minutes on two cores.
const AFFORDABLE: f64 = 1e13;
/// Clusters of the paper's groups of eight images.
const DSE_CLUSTERS: usize = 24;

/// The groups without which a measure has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Rows,
    /// Class labels or pairs of views.
    Groups,
    Pairs,
}

impl Needs {
    /// For people.
    pub fn shown(self) -> &'static str {
        match self {
            Needs::Rows => "rows",
            Needs::Groups => "labels or pairs",
            Needs::Pairs => "pairs",
        }
    }

    /// Whether rows with these groups have what is needed.
    pub fn met_by(self, groups: Groups) -> bool {
        match self {
            Needs::Rows => true,
            Needs::Groups => !matches!(groups, Groups::None),
            Needs::Pairs => matches!(groups, Groups::Pairs),
        }
    }
}

/// How the time of a measure grows with n rows of d columns, cheapest first where rows are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Passes over the rows, or the spectrum of the smaller side: `O(n d min(n, d))`.
    Spectrum,
    /// Repeated k-means, and spectra: `O(n d)` for some 10,000 passes, and `O(n d min(n, d))`.
    Clusters,
    /// Every pair of rows, in products of matrices: `O(n^2 d)`.
    Pairs,
    /// Every pair of rows, a row at a time: `O(n^2 d)` at the speed of memory, some thirty times slower than in
    /// products.
    Tree,
}

impl Cost {
    /// Multiplications of one measure, about, at the speed of a product of matrices: two cores take some 5e10 a second.
    pub fn multiplications(self, n: usize, d: usize) -> f64 {
        let (n, d) = (n as f64, d as f64);
        match self {
            Cost::Spectrum => n * d * n.min(d),
            Cost::Clusters => n * d * (n.min(d) + 10_000.0),
            Cost::Pairs => n * n * d,
            Cost::Tree => 30.0 * n * n * d,
        }
    }

    /// How it grows, for people.
    pub fn shown(self) -> &'static str {
        match self {
            Cost::Spectrum => "n d min(n, d)",
            Cost::Clusters => "k-means, n d min(n, d)",
            Cost::Pairs => "n^2 d",
            Cost::Tree => "n^2 d, 30 times slower",
        }
    }

    /// Whether it is a matter of minutes; a program should take what is not only when asked, and then of all rows.
    pub fn affordable(self, n: usize, d: usize) -> bool {
        self.multiplications(n, d) <= AFFORDABLE
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
    pub cost: Cost,
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
        cost: Cost::Spectrum,
        variant: "",
        fails: "a rank measure: follows the whole training; differs with eps2, rows and columns",
        of: |rows| rows.coding_rate(),
    },
    Measure {
        name: "compressed_rate",
        title: "Compressed rate R_c",
        formula: "R_c = sum over groups j of n_j/(2n) ln det(I + d/(n_j eps2) Zj'Zj), unit rows; of pairs in closed \
                  form: mean of 1/2 ln((1+k)^2 - (kc)^2), k = d/(2 eps2), c the pair's cosine",
        paper: MCR2,
        needs: Needs::Groups,
        cost: Cost::Spectrum,
        variant: "",
        fails: "by pairs it moves by 1 to 3 % of the largest R only; differs with eps2, rows and columns",
        of: |rows| rows.compressed_rate(),
    },
    Measure {
        name: "coding_rate_reduction",
        title: "Coding rate reduction dR",
        formula: "dR = R - R_c",
        paper: MCR2,
        needs: Needs::Groups,
        cost: Cost::Spectrum,
        variant: "",
        fails: "by pairs it is nearly R itself; differs with eps2, rows and columns",
        of: |rows| Ok(rows.coding_rate()? - rows.compressed_rate()?),
    },
    Measure {
        name: "rankme",
        title: "RankMe",
        formula: "exp(-sum p ln p), p = s/sum(s) + 1e-7, s the singular values of the raw rows",
        paper: "Garrido et al. 2023, arXiv 2210.02885",
        needs: Needs::Rows,
        cost: Cost::Spectrum,
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
        cost: Cost::Spectrum,
        variant: "of the column-centred rows",
        fails: "may rise while accuracy falls (I-JEPA); noise counts as directions",
        of: effective_rank::of_rows,
    },
    Measure {
        name: "alpha_req",
        title: "alpha-ReQ",
        formula: "minus the slope of ln l_j on ln j, weights 1/j, j = 10..min(100, d), l the eigenvalues of the \
                  centred covariance",
        paper: "Agrawal et al. 2022, NeurIPS",
        needs: Needs::Rows,
        cost: Cost::Spectrum,
        variant: "eigenvalues 10 to 100",
        fails: "its correlation with accuracy changes sign with the range of the fit; needs a power law",
        of: alpha_req::of_rows,
    },
    Measure {
        name: "uniformity",
        title: "Uniformity",
        formula: "ln of the mean over i < j of exp(-2 ||u_i - u_j||^2), unit rows u",
        paper: WANG_ISOLA,
        needs: Needs::Rows,
        cost: Cost::Pairs,
        variant: "",
        fails: "random features are the most uniform; says nothing without alignment",
        of: uniformity::of_rows,
    },
    Measure {
        name: "two_nn",
        title: "Intrinsic dimension (TwoNN)",
        formula: "slope through the origin of -ln(1 - F) on ln mu, mu the ratio of the distances to the second and \
                  first neighbour",
        paper: "Facco et al. 2017, arXiv 1803.06992",
        needs: Needs::Rows,
        cost: Cost::Pairs,
        variant: "raw rows without copies, the largest 10 % of ratios left out, line through the origin",
        fails: "too low above some 20 dimensions; noise counts as dimensions; views of one image lower it",
        of: two_nn::of_rows,
    },
    Measure {
        name: "silhouette",
        title: "Silhouette of clusters",
        formula: "mean of (b - a)/max(a, b), a the mean distance to the row's own cluster, b that to the nearest other",
        paper: "Rousseeuw 1987; Xu et al. 2024, arXiv 2409.06612",
        needs: Needs::Rows,
        cost: Cost::Pairs,
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
        cost: Cost::Clusters,
        variant: "unit rows, mean adjusted mutual information of 5 runs of k-means in 10 clusters, seed 0",
        fails: "collapsed rows agree too; follows accuracy for SimCLR and MoCo-v2 but not for SimSiam",
        of: cluster_stability::of_rows,
    },
    Measure {
        name: "dse",
        title: "Dense structure estimate (DSE), of pooled rows",
        formula: "M_inter + M_dim - M_intra: distance to the nearest other centre, effective rank over min(n, d), \
                  singular values within clusters",
        paper: "Dai et al. 2025, arXiv 2510.17299",
        needs: Needs::Rows,
        cost: Cost::Clusters,
        variant: "Lethe's own for pooled unit rows, not the paper's: 24 clusters, seed 0, no part within images",
        fails: "differs with rows and columns; jumps with the clusters found; untested on pooled rows by its authors",
        of: |rows| dse::of_rows(rows, DSE_CLUSTERS, SEED),
    },
    Measure {
        name: "idest",
        title: "Intrinsic dimension (IdEst, minimum spanning trees)",
        formula: "1/(1 - a), a the slope of ln L on ln m, L the length of the minimum spanning tree of m rows",
        paper: "Mordacq et al. 2026, arXiv 2606.03338",
        needs: Needs::Rows,
        cost: Cost::Tree,
        variant: "raw rows, trees of n, n/2, n/4, n/8 and n/16 rows, 5 subsamples of each size below n, seed 0",
        fails: "blind in the first epochs; falls with epochs for VICReg, DINO, I-JEPA; too low above some 10",
        of: |rows| idest::of_rows(rows, SEED),
    },
    Measure {
        name: "alignment",
        title: "Alignment distance",
        formula: "mean of ||u - u'||^2 over pairs of unit rows",
        paper: WANG_ISOLA,
        needs: Needs::Pairs,
        cost: Cost::Spectrum,
        variant: "",
        fails: "0 for collapsed rows; says nothing without uniformity; depends on the augmentation",
        of: alignment::of_rows,
    },
    Measure {
        name: "lidar",
        title: "LiDAR",
        formula: "exp(-sum p ln p), p = l/sum(l) + 1e-8, l = eig(Sw^-1/2 Sb Sw^-1/2), Sb between images, Sw within",
        paper: "Thilak et al. 2024, arXiv 2312.04000",
        needs: Needs::Pairs,
        cost: Cost::Spectrum,
        variant: "2 views, 1e-4 on the diagonal within",
        fails: "differs with the scale of the rows, views and columns",
        of: lidar::of_rows,
    },
    Measure {
        name: "unitmem",
        title: "UnitMem",
        formula: "mean over units of (max - median of the others)/(max + median), of an image's mean activation over \
                  its views",
        paper: "Wang et al. 2024, arXiv 2409.19069",
        needs: Needs::Pairs,
        cost: Cost::Spectrum,
        variant: "mean over units, 2 views where the paper takes 10, median of the other images",
        fails: "grows with the number of images; sparse units read 1; undefined for signed features",
        of: unitmem::of_rows,
    },
];

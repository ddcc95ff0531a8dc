//! Numbers that say something about a matrix of features without a look at the images: how many directions it uses, how
//! its spectrum decays, what dimension the set of its rows has, how they fall into clusters, how near two views of an
//! image lie, how well neighbours share a label; and what tells that an encoder knows the images it was trained on.
//!
//! A feature matrix `z` is `[n, d]`, a row an image or a view; everything is computed in float64 (k-NN searches in
//! float32). A measure is a function of a matrix, and a row of [`MEASURES`], which computes all of them from one
//! [`Rows`] and so scales the rows, multiplies and solves for the spectrum once. What takes two matrices, several views
//! or scores ([`linear_cka`], [`unitmem()`], [`membership()`], [`sslmem()`]) is a function alone. Draws (k-means,
//! subsamples) are a function of a seed and the same for any number of threads.
//!
//! Two groupings of rows are known: class labels, one a row; and q views of every image, where row `v n/q + i` is view
//! `v` of image `i`. "Unit rows" are rows divided by their Euclidean length; a row of zeros has no direction and is an
//! error where they are needed, rather than a row that quietly counts as orthogonal to all.
//!
//! Over the checkpoints of a run such numbers are [`Curves`], with replicates that know their errors: [`onsets`] says
//! when a curve leaves its first level, [`best`] which checkpoint is best and which earlier one is as good,
//! [`CRITERIA`] which one is chosen without labels, [`rank_correlation`] whether two scores agree.
//!
//! ```
//! use lethe_measures::{Groups, MEASURES, Rows};
//! let z = ndarray::array![[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 0.0]];
//! let rows = Rows::new(z.view(), Groups::Views(2), 0.5)?;
//! let rankme = MEASURES.iter().find(|measure| measure.name == "rankme").unwrap();
//! assert!((rankme.of)(&rows)? > 2.0);
//! assert_eq!((rankme.of)(&rows)?, lethe_measures::rankme(z.view())?);
//! # Ok::<(), lethe_measures::MeasureError>(())
//! ```

mod adjusted_mutual_information;
mod alignment;
mod alpha_req;
mod choice;
mod class_rate_gap;
mod clid;
mod cluster_stability;
mod coding_rate;
mod copies;
mod costs;
mod criteria;
mod curves;
mod distances;
mod distributions;
mod dse_pooled;
mod effective_rank;
mod error;
mod errors_of_means;
mod estimate;
mod idest;
mod kmeans;
pub mod knn;
mod lidar;
mod linear_cka;
mod loss_gap;
mod measures;
mod membership;
mod memorisation;
mod memorisation_change;
mod nesum;
mod onset;
mod pairs;
mod placements;
mod random;
mod rank_correlation;
mod rankme;
mod ranks;
mod rate_terms;
mod reference;
mod resampling;
mod retrieval_hits;
mod rows;
mod self_cluster;
mod shift_test;
mod silhouette;
mod spectrum;
mod sslmem;
mod stable_rank;
mod stage_views;
mod true_positives;
mod two_nn;
mod uniformity;
mod unitmem;
mod view_distances;
mod view_retrieval;

pub use adjusted_mutual_information::adjusted_mutual_information;
pub use alignment::alignment;
pub use alpha_req::alpha_req;
pub use choice::{Choice, Miss, best};
pub use class_rate_gap::{ClassRateGap, class_rate_gap};
pub use clid::{Clid, clid, cluster_learnability};
pub use cluster_stability::cluster_stability;
pub use coding_rate::{Rates, class_rates, coding_rate, view_rates};
pub use copies::{Copies, copies};
pub use costs::{Step, affordable, budget, seconds};
pub use criteria::{COMBINATION, CRITERIA, Criterion, Direction, Rule, choose_by_mean_rank};
pub use curves::{Curves, Draw, LEAST_IMAGES, LEAST_REPLICATES};
pub use dse_pooled::{DsePooled, dse_pooled, dse_pooled_of_clusters};
pub use effective_rank::effective_rank;
pub use error::MeasureError;
pub use estimate::Estimate;
pub use idest::{dimension_of_trees, idest, tree_length};
pub use kmeans::{Clustering, kmeans, lloyd};
pub use lidar::lidar;
pub use linear_cka::{debiased_linear_cka, linear_cka};
pub use loss_gap::{LossGap, loss_gap};
pub use measures::{Ceiling, MEASURES, Measure, Needs};
pub use membership::{Membership, membership, membership_change};
pub use memorisation::{Cell, LEAST_IMAGES_FOR_A_VERDICT, Memorisation, membership_above_control, memorisation};
pub use memorisation_change::{MemorisationChange, mean_change, memorisation_change};
pub use nesum::nesum;
pub use onset::{ONE_SIDE, Onset, onsets};
pub use rank_correlation::{RankCorrelation, kendall_tau, rank_correlation, spearman_rho};
pub use rankme::rankme;
pub use rate_terms::class_rate_terms;
pub use reference::{FUNCTIONS, Function, reference};
pub use retrieval_hits::RetrievalHits;
pub use rows::{Groups, Rows};
pub use self_cluster::self_cluster;
pub use shift_test::{Shift, shift_test};
pub use silhouette::silhouette;
pub use sslmem::{SslMem, sslmem};
pub use stable_rank::stable_rank;
pub use stage_views::StageViews;
pub use true_positives::TruePositives;
pub use two_nn::two_nn;
pub use uniformity::uniformity;
pub use unitmem::{UnitMem, unitmem};
pub use view_distances::ViewDistances;
pub use view_retrieval::view_retrieval;

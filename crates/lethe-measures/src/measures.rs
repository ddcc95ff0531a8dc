//! The table of measures.

use crate::error::Result;
use crate::rows::{Groups, Rows};
use crate::{alignment, alpha_req, coding_rate, effective_rank, lidar, rankme, uniformity};

/// The groups without which a measure has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Rows,
    /// Class labels or pairs of views.
    Groups,
    Pairs,
}

impl Needs {
    /// Whether rows with these groups have what is needed.
    pub fn met_by(self, groups: Groups) -> bool {
        match self {
            Needs::Rows => true,
            Needs::Groups => !matches!(groups, Groups::None),
            Needs::Pairs => matches!(groups, Groups::Pairs),
        }
    }
}

pub struct Measure {
    /// The key in JSON.
    pub name: &'static str,
    pub paper: &'static str,
    pub needs: Needs,
    pub of: fn(&Rows) -> Result<f64>,
}

/// All measures of a feature matrix.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "coding_rate",
        paper: "Yu et al. 2020, arXiv 2006.08558",
        needs: Needs::Rows,
        of: |rows| match rows.groups {
            Groups::None => Ok(coding_rate::of_unit(rows.unit()?, rows.eps2)),
            _ => Ok(rows.rates()?.coding_rate),
        },
    },
    Measure {
        name: "compressed_rate",
        paper: "Yu et al. 2020, arXiv 2006.08558",
        needs: Needs::Groups,
        of: |rows| Ok(rows.rates()?.compressed_rate),
    },
    Measure {
        name: "coding_rate_reduction",
        paper: "Yu et al. 2020, arXiv 2006.08558",
        needs: Needs::Groups,
        of: |rows| Ok(rows.rates()?.coding_rate_reduction()),
    },
    Measure { name: "rankme", paper: "Garrido et al. 2023, arXiv 2210.02885", needs: Needs::Rows, of: rankme::of_rows },
    Measure {
        name: "effective_rank",
        paper: "Roy and Vetterli 2007, EUSIPCO",
        needs: Needs::Rows,
        of: effective_rank::of_rows,
    },
    Measure { name: "alpha_req", paper: "Agrawal et al. 2022, NeurIPS", needs: Needs::Rows, of: alpha_req::of_rows },
    Measure {
        name: "uniformity",
        paper: "Wang and Isola 2020, arXiv 2005.10242",
        needs: Needs::Rows,
        of: uniformity::of_rows,
    },
    Measure {
        name: "alignment",
        paper: "Wang and Isola 2020, arXiv 2005.10242",
        needs: Needs::Pairs,
        of: alignment::of_rows,
    },
    Measure { name: "lidar", paper: "Thilak et al. 2024, arXiv 2312.04000", needs: Needs::Pairs, of: lidar::of_rows },
];

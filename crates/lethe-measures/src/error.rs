//! Why a measure cannot be taken. Rows and columns are counted from 0.

/// What is wrong with the matrix, its groups or a setting.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum MeasureError {
    #[error("the value in row {row}, column {column} is {value}")]
    NonFinite { row: usize, column: usize, value: f64 },
    #[error("the value in row {row}, column {column} is {value:e}, too large to square")]
    TooLarge { row: usize, column: usize, value: f64 },
    #[error("the matrix has {rows} rows of {columns} columns, expected at least one of each")]
    Empty { rows: usize, columns: usize },
    #[error("{rows} rows are too few, expected at least {needed}")]
    TooFewRows { rows: usize, needed: usize },
    #[error("{rows} rows do not fall into groups of {views} views")]
    UnevenViews { rows: usize, views: usize },
    #[error("{views} views of every image are too few, expected at least {needed}")]
    TooFewViews { views: usize, needed: usize },
    #[error("{labels} labels for {rows} rows")]
    LabelsLength { labels: usize, rows: usize },
    #[error("the matrices have {first} and {second} columns")]
    Columns { first: usize, second: usize },
    #[error("row {row} is all zeros and has no direction")]
    ZeroRow { row: usize },
    #[error("all values are zero")]
    AllZero,
    #[error("all rows are the same")]
    NoVariance,
    #[error("all values are the same")]
    AllEqual,
    #[error("only {found} directions have variance, expected at least {needed}")]
    TooFewDirections { found: usize, needed: usize },
    #[error("eps2 is too small: the matrix of the coding rate is singular in float64")]
    Indefinite,
    #[error("{columns} columns are too few, expected at least {needed}")]
    TooFewColumns { columns: usize, needed: usize },
    #[error("rows need labels or views")]
    NoGroups,
    #[error("rows need several views of every image")]
    NoViews,
    #[error("the value in row {row}, column {column} is {value:.3e}, expected none below zero")]
    Negative { row: usize, column: usize, value: f64 },
    #[error("only {found} of the rows are different, expected at least {needed}")]
    TooFewDistinctRows { found: usize, needed: usize },
    #[error("{runs} runs are too few, expected at least {needed}")]
    TooFewRuns { runs: usize, needed: usize },
    #[error("{clusters} clusters of {rows} rows, expected 2 to one fewer than rows")]
    Clusters { clusters: usize, rows: usize },
    #[error("the matrices have {first} and {second} rows")]
    RowCounts { first: usize, second: usize },
    #[error("every row has its two nearest rows at the same distance")]
    EqualDistances,
    #[error("the tree's length grows as rows^{slope:.3}, which fits no dimension")]
    TreeGrowth { slope: f64 },
    #[error("{name} is {value}, expected a positive number")]
    NotPositive { name: &'static str, value: f64 },
    #[error("{found} {what} are too few, expected at least {needed}")]
    TooFew { what: &'static str, found: usize, needed: usize },
    #[error("{found} {what}, expected {expected}")]
    Length { what: &'static str, found: usize, expected: usize },
    #[error("epoch {index} is not after the one before it")]
    NotGrowing { index: usize },
}

impl MeasureError {
    /// The same of a matrix that stands under `rows` others.
    pub(crate) fn below(self, rows: usize) -> Self {
        match self {
            MeasureError::NonFinite { row, column, value } => {
                MeasureError::NonFinite { row: row + rows, column, value }
            }
            MeasureError::TooLarge { row, column, value } => MeasureError::TooLarge { row: row + rows, column, value },
            other => other,
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, MeasureError>;

/// Refuses a setting that is not a positive finite number.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(MeasureError::NotPositive { name, value }) }
}

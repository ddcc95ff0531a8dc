//! Float64 measures of a feature matrix.

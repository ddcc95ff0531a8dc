//! All tests in one binary: they run the real library and the real program.

mod against;
mod feature_files;
mod findings;
mod images;
mod measure;
mod report;

mod browser;
mod support;

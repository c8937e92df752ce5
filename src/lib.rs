//! certiscope: a streaming inspection agent whose verdicts carry a certified radius.
pub mod capture;
pub mod inspection;
pub mod preprocess;
pub mod publish;
pub mod smoothing;
pub mod store;
pub mod verdict;

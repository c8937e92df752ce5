//! certiscope: a streaming inspection agent whose verdicts carry a certified radius.
pub mod calibration;
pub mod capture;
pub mod evaluation;
pub mod inspection;
pub mod preprocess;
pub mod smoothing;
pub mod verdict;

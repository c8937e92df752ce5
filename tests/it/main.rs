//! The one integration test crate, so that the libraries link once.
mod capture;
mod preprocess;
mod support;

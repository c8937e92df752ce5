//! The one integration test crate, so that the libraries link once.

mod agent;
mod bad_input;
mod capture;
mod commands;
mod delivery;
mod method;
mod preprocess;
mod store;
mod storm;
mod support;

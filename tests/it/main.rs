//! The one integration test crate, so that the libraries link once.

mod agent;
mod bad_input;
mod capture;
mod commands;
mod delivery;
mod explain;
mod method;
mod preprocess;
mod store;
mod support;

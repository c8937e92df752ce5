//! The one integration test crate, so that the libraries link once.

mod agent;
mod bad_input;
mod bench;
mod capture;
mod commands;
mod delivery;
mod faults;
mod method;
mod preprocess;
mod store;
mod support;

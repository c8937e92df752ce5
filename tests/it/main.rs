//! The one integration test crate, so that the libraries link once.
mod delivery;
mod store;
mod support;

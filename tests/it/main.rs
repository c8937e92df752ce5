//! The one integration test crate, so that the libraries link once.

mod agent;
mod bad_input;
mod bench;
mod calibrate;
mod capture;
mod collect;
mod commands;
mod delivery;
mod docs;
mod evaluate;
mod explain;
mod faulty_model;
mod injected;
mod method;
mod preprocess;
mod service;
mod simulator;
mod source;
mod status;
mod store;
mod storm;
mod support;
mod trigger;
mod watchdog;
mod year;

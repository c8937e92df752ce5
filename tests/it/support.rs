//! Shared by the integration tests: finding things, waiting on state.

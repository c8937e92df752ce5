//! What is made from pictures of normal parts, once, before any part is inspected: training maps ([`maps`]) and the
//! threshold ([`conformal`]). Statistics only.

pub mod conformal;
pub mod maps;

//! What is made from pictures of normal parts, once, before any part is inspected: training maps ([`maps`]) and the
//! threshold ([`conformal`]). Statistics only.

pub(crate) mod conformal;
pub(crate) mod maps;

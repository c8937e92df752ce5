//! Randomized smoothing: from the scores of noisy draws to a certificate.
//!
//! A draw scores one noisy copy z = x + N(0, sigma^2 I) of the model input. With p the probability that a
//! draw scores above the threshold, the frame is, for every change of its input with l2 norm < r,
//! ```text
//! anomalous, certified at r   iff   p   >  Phi(r/sigma)
//! normal,    certified at r   iff   1-p >= Phi(r/sigma)
//! ```
//! (Cohen et al. 2019, Theorem 1; Chiang et al. 2020 for the quantile form). Since p is known through
//! draws only, a certificate is a confidence statement. [`fixed`] makes it after a number of draws that was fixed
//! beforehand. [`stopping`] makes it at any time, so that drawing may end as soon as enough is certified.
//!
//! Guarantees: alpha is the failure probability of a whole frame, over both sides and all radii. Radii are rounded
//! down. A score that is not a number counts against both sides and is never dropped.
//! Leaves out: where scores come from (`score`), deadlines (the inspector has them), several frames of one part.

mod certificate;
pub(crate) mod fixed;
mod gaussian;
mod prior;
mod radius;
mod ranked;
mod rule;
#[cfg(test)]
mod soundness;
pub(crate) mod stopping;
mod threshold;

pub use certificate::{Certificate, Side};
pub(crate) use fixed::{FixedDesign, FixedRun};
pub use prior::Prior;
pub(crate) use ranked::Ranked;
pub(crate) use rule::{NOT_A_RADIUS, RuleError};
pub use rule::{RuleSettings, SequentialRule};
pub(crate) use stopping::{SequentialRun, StoppingState};

//! The verdict on one part: what a certificate, or the lack of one, means for the line.
//!
//! Guarantees: a fault can only become [`Verdict::Abstain`]; there is no sentinel and no default.
//! Leaves out: how the certificate came about (see `smoothing`).

use crate::smoothing::Certificate;

/// The three verdicts. `Abstain` is a verdict of its own, which the line treats as reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Normal,
    Anomalous,
    Abstain(Reason),
}

/// Why no verdict could be certified. The words are part of the MQTT contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All draws were spent and neither side was certified.
    Undecided,
    /// The deadline came before either side was certified.
    Deadline,
    /// The picture was empty, broken, cut off or of a size that cannot be inspected.
    BadFrame,
    /// The model failed or gave values that are not numbers.
    ModelFault,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::Undecided, Self::Deadline, Self::BadFrame, Self::ModelFault];

    pub fn word(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Deadline => "deadline",
            Self::BadFrame => "bad_frame",
            Self::ModelFault => "model_fault",
        }
    }
}

impl Verdict {
    /// The verdict that a certificate supports; `otherwise` names why when it supports none.
    pub fn from_certificate(certificate: &Certificate, otherwise: Reason) -> Self {
        use crate::smoothing::Side;
        match certificate.side {
            Some(Side::Normal) => Self::Normal,
            Some(Side::Anomalous) => Self::Anomalous,
            None => Self::Abstain(otherwise),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomalous => "anomalous",
            Self::Abstain(_) => "abstain",
        }
    }

    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Abstain(reason) => Some(reason),
            Self::Normal | Self::Anomalous => None,
        }
    }
}

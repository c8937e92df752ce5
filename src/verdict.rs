//! The verdict on one part, which follows from its certificate or from the reason why there is none.
//!
//! Guarantees: a fault can only become [`Verdict::Abstain`]. No special value and no default stands for a verdict.
//! Leaves out: how the certificate is made (see `smoothing`).

use crate::smoothing::Certificate;

/// The three verdicts. The line treats `Abstain` as reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Normal,
    Anomalous,
    Abstain(Reason),
}

/// Why neither side could be certified. The words are part of the MQTT contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All draws were made, and neither side was certified.
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
    /// The verdict that a certificate supports; without a certified side, `Abstain` with the reason `otherwise`.
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

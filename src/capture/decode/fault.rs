//! Why a file gives no picture, as the decoders of the formats say it.

/// Why there is no picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file ends too early.
    Truncated,
    /// The file is whole, and what it holds is not.
    Damaged(String),
    /// The file is of a kind that is not read, or not a picture.
    Undecodable(String),
    Size {
        width: u32,
        height: u32,
    },
}

impl Fault {
    pub(super) fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged(why.into())
    }

    pub(super) fn undecodable(why: impl Into<String>) -> Self {
        Self::Undecodable(why.into())
    }
}

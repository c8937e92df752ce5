//! Counts what retention has deleted since the start, by the reason.

use std::collections::BTreeMap;

/// Why something was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Older than `days`.
    Age,
    /// More than `max_mb`.
    Size,
    /// Less than `min_free_mb` free on the disk.
    DiskSpace,
}

impl Why {
    pub const ALL: [Self; 3] = [Self::Age, Self::Size, Self::DiskSpace];

    /// The word for it in the `status` message and the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::DiskSpace => "disk_space",
        }
    }
}

/// How much was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeletedAmount {
    /// Folders of evidence.
    pub evidence: u64,
    /// Those of them whose verdict was not `normal`.
    pub flagged: u64,
    pub evidence_bytes: u64,
    pub rows: u64,
}

impl DeletedAmount {
    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            evidence: self.evidence - other.evidence,
            flagged: self.flagged - other.flagged,
            evidence_bytes: self.evidence_bytes - other.evidence_bytes,
            rows: self.rows - other.rows,
        }
    }

    fn add(&mut self, other: Self) {
        self.evidence += other.evidence;
        self.flagged += other.flagged;
        self.evidence_bytes += other.evidence_bytes;
        self.rows += other.rows;
    }
}

impl std::fmt::Display for DeletedAmount {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { evidence, flagged, evidence_bytes, rows } = self;
        let mb = *evidence_bytes as f64 / 1e6;
        write!(to, "{rows} rows and the evidence of {evidence} parts ({mb:.1} MB), {flagged} of them flagged")
    }
}

/// What was deleted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted([DeletedAmount; Why::ALL.len()]);

impl Deleted {
    pub(super) fn count(&mut self, why: Why, tally: DeletedAmount) {
        self.0[why as usize].add(tally);
    }

    pub fn of(&self, why: Why) -> DeletedAmount {
        self.0[why as usize]
    }

    /// What was deleted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self(Why::ALL.map(|why| self.of(why).minus(before.of(why))))
    }

    /// Folders of evidence, by the word of the reason.
    pub fn evidence_by_word(&self) -> BTreeMap<&'static str, u64> {
        Why::ALL.map(|why| (why.word(), self.of(why).evidence)).into()
    }

    /// Rows, by the word of the reason.
    pub fn rows_by_word(&self) -> BTreeMap<&'static str, u64> {
        Why::ALL.map(|why| (why.word(), self.of(why).rows)).into()
    }

    pub fn sum(&self) -> DeletedAmount {
        let mut sum = DeletedAmount::default();
        self.0.into_iter().for_each(|tally| sum.add(tally));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_counted_by_the_reason() {
        let mut deleted = Deleted::default();
        let before = deleted;
        deleted
            .count(Why::Size, DeletedAmount { evidence: 2, flagged: 1, evidence_bytes: 1_500_000, rows: 0 });
        deleted.count(Why::DiskSpace, DeletedAmount { rows: 3, ..DeletedAmount::default() });
        assert_eq!(deleted.of(Why::Age), DeletedAmount::default());
        let sum = deleted.since(&before).sum();
        assert_eq!(sum.to_string(), "3 rows and the evidence of 2 parts (1.5 MB), 1 of them flagged");
        assert_eq!(deleted.since(&deleted), before);
    }
}

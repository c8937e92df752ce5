//! Chooses which evidence is deleted when some must go: that of `normal` parts first, then that of flagged ones, each the oldest
//! first. No IO; the caller hands in the log's evidence page by page.
//!
//! Guarantees: it is known before anything is deleted whether enough can be deleted.

use std::collections::VecDeque;

use crate::store::{EvidencePage, KeptEvidence, RowId};

/// How many folders a plan has at most; a few megabytes of memory.
const LONGEST: usize = 20_000;

/// A look through the log for evidence that may be deleted.
#[derive(Debug)]
pub(super) struct Survey {
    needed: u64,
    cursor: RowId,
    found: u64,
    normal: Chosen,
    flagged: Chosen,
}

/// The oldest evidence of one kind, as much as is needed.
#[derive(Debug, Default)]
struct Chosen {
    evidence: VecDeque<KeptEvidence>,
    bytes: u64,
}

/// The result of a survey.
#[derive(Debug)]
pub(super) struct Plan {
    /// In the order in which it is to be deleted.
    pub evidence: VecDeque<KeptEvidence>,
    /// How much may be deleted in all; it is counted only up to what is needed.
    pub found: u64,
}

impl Survey {
    /// Looks for this many bytes of evidence.
    pub(super) fn new(needed: u64) -> Self {
        let (normal, flagged) = (Chosen::default(), Chosen::default());
        Self { needed, cursor: RowId::START, found: 0, normal, flagged }
    }

    /// Where the next page begins.
    pub(super) fn cursor(&self) -> RowId {
        self.cursor
    }

    /// Takes the next page. Returns the plan when no further page is needed.
    pub(super) fn take(&mut self, page: EvidencePage) -> Option<Plan> {
        for kept in page.deletable {
            self.found += kept.bytes;
            let chosen = if kept.flagged { &mut self.flagged } else { &mut self.normal };
            if chosen.bytes < self.needed && chosen.evidence.len() < LONGEST {
                chosen.bytes += kept.bytes;
                chosen.evidence.push_back(kept);
            }
        }
        if let Some(next) = page.next
            && self.normal.bytes < self.needed
        {
            self.cursor = next;
            return None;
        }
        let mut evidence = std::mem::take(&mut self.normal.evidence);
        if evidence.len() < LONGEST {
            evidence.append(&mut self.flagged.evidence);
        }
        Some(Plan { evidence, found: self.found })
    }
}

/// Takes from the front of a plan what is deleted in one step: at most `folders`, and no more than `bytes` need.
pub(super) fn next_folders(
    plan: &mut VecDeque<KeptEvidence>,
    folders: usize,
    bytes: u64,
) -> Vec<KeptEvidence> {
    let (mut taken, mut sum) = (Vec::new(), 0);
    while taken.len() < folders && sum < bytes {
        let Some(kept) = plan.pop_front() else { break };
        sum += kept.bytes;
        taken.push(kept);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(evidence: &[(i64, bool)], has_next: bool) -> EvidencePage {
        let kept = |&(row, flagged)| KeptEvidence {
            row: RowId::numbered(row),
            station: String::new(),
            folder: row.to_string(),
            bytes: 10,
            flagged,
            captured_at_us: row,
        };
        EvidencePage {
            deletable: evidence.iter().map(kept).collect(),
            oldest_us: None,
            next: has_next.then(|| RowId::numbered(evidence.last().unwrap().0)),
        }
    }

    fn rows(plan: &Plan) -> Vec<i64> {
        plan.evidence.iter().map(|kept| kept.captured_at_us).collect()
    }

    #[test]
    fn flagged_evidence_goes_last_and_the_oldest_goes_first() {
        let mut survey = Survey::new(35);
        assert!(survey.take(page(&[(1, true), (2, false)], true)).is_none());
        assert_eq!(survey.cursor(), RowId::numbered(2));
        assert!(survey.take(page(&[(3, true), (4, false)], true)).is_none());
        let plan = survey.take(page(&[], false)).unwrap();
        assert_eq!((rows(&plan), plan.found), (vec![2, 4, 1, 3], 40));
    }

    #[test]
    fn a_survey_ends_as_soon_as_there_is_enough_of_normal_parts() {
        let mut survey = Survey::new(15);
        let plan = survey.take(page(&[(1, true), (2, false), (3, false), (4, false)], true)).unwrap();
        assert_eq!(rows(&plan)[..2], [2, 3]);
        let mut evidence = plan.evidence;
        assert_eq!(next_folders(&mut evidence, 20, 15).len(), 2, "no more than is needed");
        assert_eq!(next_folders(&mut evidence, 1, 15).len(), 1, "no more than a step");
    }
}

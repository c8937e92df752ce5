//! When to stop drawing, and what is certified then: an e-process that may be read after every draw.
//!
//! The stop is decided in [`SequentialRun::state`]; on which side of the threshold a draw counts is in `threshold`.
//!
//! With a ones in n draws and a prior pi over p that was fixed before the first draw,
//! ```text
//! M_n(q; a) = [ integral p^a (1-p)^(n-a) dpi(p) ] / [ q^a (1-q)^(n-a) ]
//! ```
//! is under q = p a non-negative martingale of mean 1, so P(M_n(p) >= 1/alpha for some n) <= alpha (Ville).
//! `anomalous at r` is claimed when a/n > q and M_n(q) >= 1/alpha at q = Phi(r/sigma), `normal at r` when
//! a/n < q and M_n(q) >= 1/alpha at q = Phi(-r/sigma). Beyond a/n the likelihood falls, so a wrong claim on
//! either side, at any r and any n, implies M_n(p) >= 1/alpha: one threshold pays for all of them, and the
//! running maximum of the radius is as valid as its last value.
//!
//! Guarantees: a wrong claim is made with probability at most alpha a run, whatever decides when to stop.
//!
//! Scores that are not a number count as "not above" for `anomalous` and as "above" for `normal`, and one
//! threshold is still enough (our own proof). Let p+ = P(above) and p- = P(above or NaN). Put p* = 1/2 if it
//! lies between them, else the one nearer to 1/2, and replace each NaN by an independent Bernoulli draw
//! such that ones have probability p*. `anomalous` at q >= 1/2 is wrong only if q >= p+, hence q >= p*; then the replacements
//! only add ones, and since M_n(q; .) is convex in the ones and at most 1 at a = nq, the claim still holds
//! with them: M_n(q; a*) >= 1/alpha with a*/n > q >= p*, so M_n(p*; a*) >= 1/alpha. `normal` likewise. Both
//! errors lie in one event of the single martingale M_n(p*), which has probability at most alpha.
//!
//! Leaves out: the deadline, which the caller keeps; the choice of the prior; where the draws come from. The draws must
//! be independent given the frame, counted in issue order, and none may be dropped or repeated.
//! Costs: microseconds for each draw.

use super::certificate::{Certificate, Side};
use super::ranked::Ranked;
use super::rule::SequentialRule;
use super::threshold::side_of;
use crate::score::CertifiedScore;

/// Whether another draw is worth making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoppingState {
    Continue,
    /// A side is certified at the target radius.
    Settled,
    /// The target cannot be certified any more, even if all remaining draws agree.
    Hopeless,
    /// All draws are made, and the target is not certified.
    Exhausted,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Claim {
    None,
    Held {
        side: Side,
        radius_in_sigmas: f64,
    },
    /// Both sides were claimed, each after some draw. So this run is one of the share alpha in which a claim is wrong,
    /// and nothing says which one. From then on no side is certified.
    Contradicted,
}

/// The run of one frame: takes draws one by one, and can be asked after each what is certified.
#[derive(Debug, Clone)]
pub(crate) struct SequentialRun<'a> {
    rule: &'a SequentialRule,
    scores: Vec<f32>,
    above: u32,
    below: u32,
    claim: Claim,
}

impl<'a> SequentialRun<'a> {
    pub(crate) fn new(rule: &'a SequentialRule) -> Self {
        Self { rule, scores: Vec::new(), above: 0, below: 0, claim: Claim::None }
    }

    /// Counts the next draw, in issue order, on the side of the threshold on which its score lies. Draws after the
    /// stop, such as the rest of a batch, may be counted too: they only add evidence.
    pub(crate) fn count_against_threshold(&mut self, score: CertifiedScore) {
        let score = score.value();
        self.scores.push(score);
        match side_of(score, self.rule.threshold()) {
            Some(Side::Anomalous) => self.above += 1,
            Some(Side::Normal) => self.below += 1,
            None => {}
        }
        for side in Side::BOTH {
            self.claim_if_supported(side);
        }
    }

    fn claim_if_supported(&mut self, side: Side) {
        let held = match self.claim {
            Claim::Held { side: held, radius_in_sigmas } if held == side => radius_in_sigmas,
            _ => 0.0,
        };
        let evidence = self.rule.evidence(side, self.agreeing(side), self.draws());
        let Some(radius_in_sigmas) = evidence.radius_in_sigmas(held) else {
            return;
        };
        self.claim = match self.claim {
            Claim::None => Claim::Held { side, radius_in_sigmas },
            Claim::Held { side: held, .. } if held == side => Claim::Held { side, radius_in_sigmas },
            Claim::Held { .. } | Claim::Contradicted => Claim::Contradicted,
        };
    }

    fn agreeing(&self, side: Side) -> u32 {
        match side {
            Side::Normal => self.below,
            Side::Anomalous => self.above,
        }
    }

    pub(crate) fn draws(&self) -> u32 {
        self.scores.len() as u32
    }

    /// The certified side, if any.
    pub(crate) fn side(&self) -> Option<Side> {
        match self.claim {
            Claim::Held { side, .. } => Some(side),
            Claim::None | Claim::Contradicted => None,
        }
    }

    /// The certified radius; 0 without a certified side.
    pub(crate) fn radius(&self) -> f64 {
        match self.claim {
            Claim::Held { radius_in_sigmas, .. } => radius_in_sigmas * self.rule.sigma(),
            Claim::None | Claim::Contradicted => 0.0,
        }
    }

    pub(crate) fn state(&self) -> StoppingState {
        if self.side().is_some() && self.rule.is_met_by(self.radius()) {
            StoppingState::Settled
        } else if self.draws() >= self.rule.max_draws() {
            StoppingState::Exhausted
        } else if self.claim == Claim::Contradicted
            || !Side::BOTH.into_iter().any(|side| self.may_meet_target(side))
        {
            StoppingState::Hopeless
        } else {
            StoppingState::Continue
        }
    }

    /// Whether `side` is certified at the target if all remaining draws agree. M_n is convex along them, so checking
    /// the last one is enough.
    fn may_meet_target(&self, side: Side) -> bool {
        let max_draws = self.rule.max_draws();
        let agreeing = self.agreeing(side) + max_draws - self.draws();
        self.side().is_none_or(|held| held == side)
            && self.rule.evidence(side, agreeing, max_draws).holds(self.rule.target_in_sigmas())
    }

    /// What is certified now; it may be read at any time, after the stop or at a deadline.
    ///
    /// The bounds of the median m are the claims at radius 0 with m as the threshold. A draw above m is a one; a tie
    /// with m or a NaN is replaced by an independent Bernoulli draw. Both bounds hold together at level alpha.
    pub(crate) fn certificate(&self) -> Certificate {
        let ranked = Ranked::new(self.scores.iter().copied());
        let least_agreeing = |side| self.rule.least_agreeing(side, self.draws()).map(|count| count as usize);
        Certificate {
            side: self.side(),
            radius: self.radius(),
            draws: self.draws(),
            above: self.above,
            not_a_number: ranked.not_a_number() as u32,
            score: ranked.median(),
            score_lower: least_agreeing(Side::Anomalous).and_then(|count| ranked.lower(count)),
            score_upper: least_agreeing(Side::Normal).and_then(|count| ranked.upper(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smoothing::rule::RuleSettings;

    /// A target of half a sigma, threshold 1.
    fn rule(max_draws: u32) -> SequentialRule {
        SequentialRule::new(&RuleSettings { max_draws, ..RuleSettings::new(0.05) }, 1.0, 0.1).unwrap()
    }

    fn counted<'a>(rule: &'a SequentialRule, scores: &[(usize, f32)]) -> SequentialRun<'a> {
        let mut run = SequentialRun::new(rule);
        for &(times, score) in scores {
            (0..times).for_each(|_| run.count_against_threshold(CertifiedScore::stored(score)));
        }
        run
    }

    #[test]
    fn a_run_settles_at_the_first_draw_that_reaches_the_target_on_either_side() {
        let rule = rule(200);
        assert_eq!(rule.draws_needed(), 22);
        for (score, side) in [(2.0, Side::Anomalous), (1.0, Side::Normal)] {
            let run = counted(&rule, &[(21, score)]);
            assert_eq!((run.state(), run.side()), (StoppingState::Continue, Some(side)));
            assert!(run.radius() > 0.0 && run.radius() < 0.05);
            let run = counted(&rule, &[(22, score)]);
            assert_eq!((run.state(), run.side()), (StoppingState::Settled, Some(side)));
            assert!(run.radius() >= 0.05);
        }
    }

    #[test]
    fn the_radius_is_the_largest_the_run_has_claimed() {
        let rule = rule(200);
        let best = counted(&rule, &[(40, 2.0)]).radius();
        let mut run = counted(&rule, &[(40, 2.0), (8, 0.0)]);
        assert_eq!(run.radius(), best);
        assert_eq!((run.side(), run.certificate().above), (Some(Side::Anomalous), 40));
        (0..400).for_each(|_| run.count_against_threshold(CertifiedScore::stored(2.0)));
        assert!(run.radius() > best);
    }

    #[test]
    fn a_run_is_hopeless_once_full_agreement_would_come_too_late() {
        let rule = rule(40);
        let hopeless = (1..=20)
            .find(|&each| counted(&rule, &[(each, 2.0), (each, 0.0)]).state() == StoppingState::Hopeless);
        let each = hopeless.expect("a run that splits evenly gets hopeless");
        assert!(each < 20, "before the draws are spent");
        let rest = 40 - 2 * each;
        assert!(counted(&rule, &[(each, 0.0), (each, 2.0), (rest, 2.0)]).radius() < 0.05, "rightly so");
        let before = counted(&rule, &[(each - 1, 0.0), (each - 1, 2.0), (rest + 2, 2.0)]);
        assert!(before.radius() >= 0.05, "and not too soon");
        let run = counted(&rule, &[(1, 0.0), (21, 2.0)]);
        assert_eq!(run.state(), StoppingState::Continue, "one that may still make it goes on");
    }

    #[test]
    fn a_target_that_only_a_contradiction_could_meet_is_hopeless() {
        let rule = rule(200);
        let run = counted(&rule, &[(12, 2.0), (40, 0.0)]);
        assert_eq!((run.side(), run.state()), (Some(Side::Anomalous), StoppingState::Hopeless));
    }

    #[test]
    fn the_bounds_of_the_median_have_the_least_rank_that_is_claimed() {
        let rule = rule(200);
        for side in Side::BOTH {
            assert_eq!((rule.least_agreeing(side, 11), rule.least_agreeing(side, 12)), (None, Some(12)));
            for draws in [30, 200] {
                let least = rule.least_agreeing(side, draws).unwrap();
                let claimed = |agreeing| rule.evidence(side, agreeing, draws).holds(0.0);
                assert!(claimed(least) && !claimed(least - 1), "{side:?} {draws}: {least}");
            }
        }
    }

    #[test]
    fn a_run_is_exhausted_at_the_last_draw() {
        let rule = rule(22);
        assert_eq!(counted(&rule, &[(1, 0.0), (21, 2.0)]).state(), StoppingState::Exhausted);
        assert_eq!(counted(&rule, &[(22, 2.0)]).state(), StoppingState::Settled);
    }

    #[test]
    fn both_sides_claimed_leave_none() {
        let rule = rule(1000);
        let mut run = counted(&rule, &[(13, 2.0), (100, 0.0)]);
        assert_eq!((run.side(), run.radius(), run.state()), (None, 0.0, StoppingState::Hopeless));
        (0..500).for_each(|_| run.count_against_threshold(CertifiedScore::stored(0.0)));
        assert_eq!(run.side(), None, "for good");
    }

    #[test]
    fn a_nan_counts_against_both_sides_and_stays_counted() {
        let rule = rule(200);
        for score in [2.0, 0.0] {
            let run = counted(&rule, &[(3, f32::NAN), (22, score)]);
            assert!(run.radius() < counted(&rule, &[(25, score)]).radius());
            let certificate = run.certificate();
            assert_eq!(
                (certificate.draws, certificate.not_a_number, certificate.score),
                (25, 3, Some(score))
            );
        }
        let certificate = counted(&rule, &[(100, f32::NAN)]).certificate();
        assert_eq!((certificate.side, certificate.score, certificate.score_upper), (None, None, None));
        assert_eq!(counted(&rule, &[(190, f32::NAN)]).state(), StoppingState::Hopeless);
    }

    #[test]
    fn nothing_is_claimed_without_a_draw() {
        let rule = rule(200);
        let certificate = SequentialRun::new(&rule).certificate();
        assert_eq!((certificate.side, certificate.radius, certificate.draws), (None, 0.0, 0));
        assert_eq!((certificate.score, certificate.score_lower, certificate.score_upper), (None, None, None));
    }
}

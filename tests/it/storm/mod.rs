//! The storm: the real program sends to a real broker. Both are killed at random, and the link between them breaks in every
//! way. Then three records of what happened are compared: the log (SQLite), the proxy (which reads every PUBACK), and a reader
//! on the line.
//!
//! What each run must show:
//! (a) No row is left in the outbox, and each row has a PUBACK.
//! (b) Every verdict that the broker had not acknowledged before it was killed arrives.
//! (c) A verdict that the broker acknowledged and then lost is counted as the broker's loss, and is still in the log.
//! (d) Each boot counts 1, 2, 3 without a gap. A verdict that arrives twice differs in `historical` only.
//!
//! Three runs are part of every test run. For 200 runs, or to repeat one of them:
//!
//! ```text
//! CERTISCOPE_STORM_RUNS=200 CERTISCOPE_STORM_SEED=1 scripts/test --test it storm -- --nocapture
//! CERTISCOPE_STORM_RUNS=1 CERTISCOPE_STORM_SEED=77 scripts/test --test it storm -- --nocapture
//! ```
//!
//! The seed decides what happens, in which order and after which pauses. What the program does at that time still depends on the
//! machine. A run that fails prints its seed and keeps its folder.

mod run;
mod witnesses;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Blow, Plan};
use witnesses::Findings;

use crate::support;

/// How many runs there are at the same time; a run mostly waits.
const AT_ONCE: usize = 3;

#[test]
fn the_storm() {
    let runs = number("CERTISCOPE_STORM_RUNS", 3);
    let first = number("CERTISCOPE_STORM_SEED", 1);
    let next = AtomicU64::new(first);
    let (all, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + runs {
                        return;
                    }
                    let plan = Plan::new(seed);
                    match catch_unwind(AssertUnwindSafe(|| run::run(&plan))) {
                        Ok(findings) => {
                            say(&format!("{plan}; {findings}"));
                            all.lock().unwrap().push((plan, findings));
                        }
                        Err(_) => {
                            say(&format!("{plan}; FAILED, see above"));
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let (all, failed) = (all.into_inner().unwrap(), failed.into_inner().unwrap());
    summarise(&all, &failed);
    assert!(failed.is_empty(), "failed with seeds {failed:?}");
    assert!(all.iter().all(|(_, findings)| findings.committed > 50), "a run in which little happened");
}

fn summarise(all: &[(Plan, Findings)], failed: &[u64]) {
    say(&format!("{} runs passed, {} failed {failed:?}", all.len(), failed.len()));
    for blow in Blow::ALL {
        let times: usize = all.iter().map(|(plan, _)| plan.times(blow)).sum();
        say(&format!("{times:>8}  {}", blow.words()));
    }
    let sum = |of: fn(&Findings) -> usize| all.iter().map(|(_, findings)| of(findings)).sum::<usize>();
    for (words, count) in [
        ("starts of the agent", sum(|findings| findings.boots)),
        ("verdicts committed", sum(|findings| findings.committed)),
        ("of them acknowledged (PUBACK seen by the proxy)", sum(|findings| findings.acknowledged)),
        ("of them heard", sum(|findings| findings.heard)),
        ("duplicates heard, each recognised", sum(|findings| findings.duplicates)),
        ("broker's loss: acknowledged, then forgotten", sum(|findings| findings.forgotten.len())),
        ("left in an outbox", sum(|findings| findings.left)),
    ] {
        say(&format!("{count:>8}  {words}"));
    }
}

fn say(line: &str) {
    support::say(&format!("storm: {line}"));
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} = {text:?}: not a number")),
        Err(_) => default,
    }
}

//! Compares what the log, the proxy and the reader have recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::subscriber::{Key, Subscriber, key, verdict_schema};

/// The result of a run.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) boots: usize,
    pub(super) committed: usize,
    pub(super) acknowledged: usize,
    pub(super) heard: usize,
    pub(super) duplicates: usize,
    pub(super) left: usize,
    /// Verdicts that the broker acknowledged and that never arrived, because it was killed afterwards: the broker's loss.
    pub(super) forgotten: Vec<Key>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boots, committed, acknowledged, heard, duplicates, left, forgotten } = self;
        write!(f, "starts {boots}; committed {committed}, acknowledged {acknowledged}, heard {heard}, ")?;
        write!(f, "duplicates {duplicates}, left {left}, broker's loss {}", forgotten.len())?;
        let next_to = |(a, b): &Key, (c, d): &Key| a == c && b + 1 == *d;
        for stretch in forgotten.chunk_by(next_to) {
            let ((boot, first), (_, last)) = (&stretch[0], &stretch[stretch.len() - 1]);
            write!(f, " {}:{first}-{last}", &boot[..8])?;
        }
        Ok(())
    }
}

/// Compares the three records. Call it after the agent was stopped in order.
pub(super) fn compare(log: &Connection, proxy: &Proxy, reader: &Subscriber) -> Findings {
    let committed = committed(log);
    let boots = assert_no_gap(committed.keys());
    let left: u32 = log.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap();

    // (a)
    assert_eq!(left, 0, "rows left in the outbox after an orderly stop");
    let answers = proxy.answers();
    let acknowledged: BTreeSet<&Key> =
        answers.iter().filter(|answer| answer.is_acknowledgement()).map(|answer| &answer.key).collect();
    assert_eq!(acknowledged, committed.keys().collect(), "committed, but for those with a PUBACK");

    // (b) The reader must have all verdicts that were acknowledged after the broker was last killed, since it was subscribed.
    let lasting: Vec<Key> = answers
        .iter()
        .filter(|answer| answer.is_acknowledgement() && answer.life == proxy.life())
        .map(|answer| answer.key.clone())
        .collect();
    reader.wait_verdicts(&lasting);
    let heard = heard(reader, &committed);
    let forgotten: Vec<Key> = committed.keys().filter(|key| !heard.contains_key(*key)).cloned().collect();

    // (c) follows from (a) and (b): what is missing was acknowledged, and only before a kill.
    for key in &forgotten {
        assert!(!lasting.contains(key), "{key:?}: acknowledged by a broker that lived on, and not heard");
        assert!(acknowledged.contains(key), "{key:?}: never acknowledged, and not heard");
    }

    Findings {
        boots,
        committed: committed.len(),
        acknowledged: acknowledged.len(),
        heard: heard.len(),
        duplicates: heard.values().map(|times| times - 1).sum(),
        left: left as usize,
        forgotten,
    }
}

/// Reads every row of the log, with its message.
fn committed(log: &Connection) -> BTreeMap<Key, Value> {
    log.prepare(
        "SELECT boot_id, seq, CAST(payload AS TEXT) || ',\"historical\":false}'
         FROM inspection JOIN output_message ON inspection_id = id",
    )
    .unwrap()
    .query_map([], |row| {
        let message: String = row.get(2)?;
        let seq: u32 = row.get(1)?;
        Ok(((row.get(0)?, seq.into()), serde_json::from_str(&message).expect("a message is JSON")))
    })
    .unwrap()
    .map(Result::unwrap)
    .collect()
}

/// (d) Checks that each boot counts 1, 2, 3. Returns how many boots there were.
fn assert_no_gap<'a>(keys: impl Iterator<Item = &'a Key>) -> usize {
    let mut boots: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (boot, seq) in keys {
        boots.entry(boot).or_default().push(*seq);
    }
    for (boot, numbers) in &boots {
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, &expected, "boot {boot} has a gap");
    }
    boots.len()
}

/// (d) Checks that each verdict arrived as it was committed, but for `historical`. Returns how often each one arrived.
fn heard(reader: &Subscriber, committed: &BTreeMap<Key, Value>) -> BTreeMap<Key, usize> {
    let schema = verdict_schema();
    let mut times = BTreeMap::new();
    for heard in reader.heard("verdict") {
        schema.validate(&heard.message).unwrap_or_else(|error| panic!("{error}: {}", heard.message));
        let key = key(&heard.message);
        let mut message = heard.message;
        message["historical"] = false.into();
        assert_eq!(Some(&message), committed.get(&key), "not as it was committed");
        *times.entry(key).or_default() += 1;
    }
    times
}

//! A disk that hangs: the call that reads its free space does not return.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use certiscope::testing::agent::{self, DiskProbe, Stop};
use certiscope::testing::config::Config;
use certiscope::testing::machine::disk_free_bytes;

use crate::support::line::{Line, report};
use crate::support::metrics::{get, metric};
use crate::support::scripted::{Now, Script};
use crate::support::wait_until;

/// A disk probe that does not return while `hangs` is true.
fn probe(hangs: &Arc<AtomicBool>) -> DiskProbe {
    let hangs = Arc::clone(hangs);
    Arc::new(move |path: &Path| {
        while hangs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        disk_free_bytes(path)
    })
}

#[test]
fn a_disk_that_hangs_stops_nothing_and_is_reported() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut line = Line::new();
    line.rest = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"");
    let config = Config::read(&line.configure()).unwrap();
    let (hangs, stop) = (Arc::new(AtomicBool::new(false)), Stop::default());
    let source = Script::new(Now::Frames).source();
    let agent = std::thread::spawn({
        let (disk, stop) = (probe(&hangs), stop.clone());
        move || agent::run_with(&config, |_| Ok(source), disk, &stop, |_| {}).unwrap()
    });
    line.wait_verdict("the station inspects", |_| true);

    hangs.store(true, Ordering::Relaxed);
    let hung = Instant::now();
    let count = |what: &str| line.reader.heard(what).len();
    let (verdicts, beats) = (count("verdict"), count("heartbeat"));
    let status = line.wait_status("the store is stuck", |status| status["store"]["state"] == "stuck");
    let reported = hung.elapsed();
    let reason = status["store"]["reason"].as_str().unwrap();
    assert!(reason.contains("free space") && reason.contains("look at the disk"), "{reason}");
    let asked = Instant::now();
    let answer = get(port, "/metrics");
    assert!(asked.elapsed() < Duration::from_secs(2), "/metrics took {:?}", asked.elapsed());
    assert_eq!(metric(&answer, r#"certiscope_ok{station="station1",of="store"}"#), 0.0);
    let turns = r#"certiscope_stage_turns_total{station="station1",stage="capture"}"#;
    let (before, verdicts_before) = (metric(&answer, turns), count("verdict"));
    wait_until("capture and inspection go on", || {
        metric(&get(port, "/metrics"), turns) > before && count("verdict") > verdicts_before + 5
    });
    let seconds = hung.elapsed().as_secs() as usize;
    assert!(count("heartbeat") - beats + 1 >= seconds, "heartbeats are missing in {seconds} s");

    hangs.store(false, Ordering::Relaxed);
    line.wait_status("the disk answers again", |status| status["store"]["state"] == "ok");
    stop.request();
    agent.join().unwrap();
    let inspected = line.check_nothing_is_lost() - verdicts;
    report(
        "disk does not say its room",
        &format!("store stuck after {reported:.1?}; meanwhile {inspected} verdicts, every heartbeat, 0 lost"),
    );
}

#[test]
fn a_disk_that_never_answers_delays_a_stop_by_nothing() {
    let line = Line::new();
    let config = Config::read(&line.configure()).unwrap();
    let (hangs, stop) = (Arc::new(AtomicBool::new(true)), Stop::default());
    let source = Script::new(Now::Frames).source();
    let agent = std::thread::spawn({
        let (disk, stop) = (probe(&hangs), stop.clone());
        move || agent::run_with(&config, |_| Ok(source), disk, &stop, |_| {})
    });
    line.wait_verdict("it inspects although the disk has never answered", |_| true);
    let asked = Instant::now();
    stop.request();
    let ended = agent.join().unwrap();
    let took = asked.elapsed();
    hangs.store(false, Ordering::Relaxed);
    // Retention reads the free space too. Its thread is waited for only up to a limit.
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(ended.is_ok(), "{ended:?}");
    line.check_nothing_is_lost();
}

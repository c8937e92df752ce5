//! Local time, as people read and write it: which time zone that is, and times in it.
//!
//! Guarantees: the zone is found as libc finds it: `TZ` (a name, a file, or a rule such as CET-1CEST), else /etc/localtime, else
//! UTC. Where it was set and cannot be found, UTC is used and a note says so. Where the system has no list of zones, as in
//! a container, the built-in one is used. A time that a change of the clocks makes unclear is refused, with the two that it may mean.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};

use crate::cli::output::print_note;

/// When libc changes the clocks for a rule that names summer time but no dates: the rules of the United States.
const USUAL_DATES: &str = ",M3.2.0,M11.1.0";

/// A time zone, and its name for people.
#[derive(Debug, Clone)]
pub(super) struct LocalZone {
    zone: TimeZone,
    name: String,
}

/// The zone that local times are in. Says once what is wrong with it.
pub(super) fn local_zone() -> &'static LocalZone {
    static ZONE: OnceLock<LocalZone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let set = std::env::var_os("TZ");
        let there = Path::new("/etc/localtime").symlink_metadata().is_ok();
        let (zone, trouble) = found(set, there, TimeZone::try_system().ok());
        if let Some(trouble) = trouble {
            print_note!("certiscope: {trouble}");
        }
        zone
    })
}

/// The zone, with what is wrong. `system` is the one that jiff finds for the value `set` of TZ; `there`: whether there is
/// an /etc/localtime.
fn found(set: Option<OsString>, there: bool, system: Option<TimeZone>) -> (LocalZone, Option<String>) {
    const UTC: &str = "times are shown and read as UTC";
    let utc = || LocalZone { zone: TimeZone::UTC, name: "UTC".to_owned() };
    let set = set.map(|set| set.to_string_lossy().into_owned());
    let unnamed = || set.clone().unwrap_or_else(|| "/etc/localtime".to_owned());
    if let Some(zone) = system.filter(|zone| !zone.is_unknown()) {
        let name = zone.iana_name().map_or_else(unnamed, str::to_owned);
        return (LocalZone { zone, name }, None);
    }
    match &set {
        Some(rule) => match TimeZone::posix(&format!("{rule}{USUAL_DATES}")) {
            Ok(zone) => (LocalZone { zone, name: rule.clone() }, None),
            Err(_) => {
                let trouble = format!(
                    "TZ = {rule:?}: no such time zone; {UTC}; a name such as Europe/Berlin is allowed, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
                );
                (utc(), Some(trouble))
            }
        },
        None if there => {
            (utc(), Some(format!("/etc/localtime: not a time zone that is known here; {UTC}; set TZ")))
        }
        None => (utc(), None),
    }
}

impl LocalZone {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A time for a person: local, to the second.
    pub(super) fn show(&self, moment: Timestamp) -> String {
        moment.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Reads a time as people write it.
    pub(super) fn read(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(moment);
        }
        match (text.parse::<civil::DateTime>(), text.parse::<Span>()) {
            (Ok(local), _) => self.moment(text, local),
            (_, Ok(ago)) if ago.is_positive() => {
                let then = now.to_zoned(self.zone.clone()).checked_sub(ago);
                then.map(|then| then.timestamp()).map_err(|error| error.to_string())
            }
            _ => Err(r#"not a time; 2026-11-21T14:03:00Z, "2026-11-21 14:03" (local), 2026-11-21, 2h or 1d are allowed"#.to_owned()),
        }
    }

    fn moment(&self, text: &str, local: civil::DateTime) -> Result<Timestamp, String> {
        let possible = self.zone.to_ambiguous_timestamp(local);
        let is_a_day = !text.contains(':'); // it begins when it begins
        if !possible.is_ambiguous() || is_a_day {
            return possible.compatible().map_err(|error| error.to_string());
        }
        let (Ok(earlier), Ok(later)) = (possible.earlier(), possible.later()) else {
            return Err("outside of the years that can be shown".to_owned());
        };
        let why = match possible.offset() {
            jiff::tz::AmbiguousOffset::Gap { .. } => "does not exist: the clocks are set forward over it",
            _ => "comes twice: the clocks are set back",
        };
        Err(format!("in {} this time {why}; give {earlier} or {later}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> LocalZone {
        LocalZone { zone: TimeZone::get(name).unwrap(), name: name.to_owned() }
    }

    #[test]
    fn a_time_may_be_given_as_people_say_it() {
        let zone = LocalZone { zone: TimeZone::fixed(jiff::tz::offset(2)), name: "east".to_owned() };
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (text, meant) in [
            ("2026-11-21T14:03:00Z", "2026-11-21T14:03:00Z"),
            ("2026-11-21T14:03:00.5+01:00", "2026-11-21T13:03:00.5Z"),
            ("2026-11-21 14:03", "2026-11-21T12:03:00Z"),
            ("2026-11-21T14:03:07", "2026-11-21T12:03:07Z"),
            ("2026-11-21", "2026-11-20T22:00:00Z"),
            ("2h", "2026-11-22T08:00:00Z"),
            ("1d", "2026-11-21T10:00:00Z"),
            ("1d 30m", "2026-11-21T09:30:00Z"),
        ] {
            assert_eq!(zone.read(text, now), Ok(meant.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "14:03", "2026-13-01", "-2h", "0s", "5", "99999y"] {
            assert!(zone.read(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_comes_twice_or_never_is_refused_with_those_it_may_mean() {
        let (berlin, now) = (zone("Europe/Berlin"), Timestamp::now());
        let twice = berlin.read("2026-10-25 02:30", now).unwrap_err();
        for words in ["Europe/Berlin", "comes twice", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(twice.contains(words), "{twice}");
        }
        let never = berlin.read("2026-03-29 02:30", now).unwrap_err();
        for words in ["Europe/Berlin", "does not exist", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"] {
            assert!(never.contains(words), "{never}");
        }
        for either in ["2026-10-25T00:30:00Z", "2026-10-25 01:59", "2026-10-25 03:00", "2026-03-29 03:00"] {
            assert!(berlin.read(either, now).is_ok(), "{either}");
        }
        // Midnight is left out in Cairo when summer time begins; the day begins an hour later.
        let day = zone("Africa/Cairo").read("2026-04-24", now);
        assert_eq!(day, Ok("2026-04-23T22:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_zone_is_found_as_libc_finds_it_or_the_trouble_is_said() {
        let summer: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let set = |value: &str| Some(OsString::from(value));
        let (rule, trouble) = found(set("CET-1CEST"), true, None);
        assert_eq!((rule.name(), &*rule.show(summer)), ("CET-1CEST", "2026-07-01 14:00:00"));
        assert_eq!(trouble, None);
        let (utc, trouble) = found(set("Europe/Berlni"), true, None);
        assert_eq!((utc.name(), &*utc.show(summer)), ("UTC", "2026-07-01 12:00:00"));
        assert!(trouble.unwrap().contains("\"Europe/Berlni\": no such time zone"));
        let (utc, trouble) = found(None, true, None);
        assert_eq!(utc.name(), "UTC");
        assert!(trouble.unwrap().contains("/etc/localtime"));
        let (utc, trouble) = found(None, false, None);
        assert_eq!((utc.name(), trouble), ("UTC", None));
        let (file, _) = found(None, true, TimeZone::posix("CET-1").ok());
        assert_eq!(file.name(), "/etc/localtime");
    }
}

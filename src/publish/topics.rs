//! The MQTT topics of a station: `{prefix}/{site}/{line}/{station}/{leaf}`.
//!
//! Guarantees: each level consists of `[A-Za-z0-9_-]+`, so no name can be a wildcard, contain a second level, or be a key that
//! a SCADA system cannot use. Only the prefix may have several levels. Two stations with different topics have different
//! client ids.

use crate::hex;

/// What every broker must accept as a client id: so many letters and digits (MQTT 3.1.1, section 3.1.3.1).
const LONGEST_CLIENT_ID: usize = 23;

/// Hexadecimal digits of the hash in a client id: 48 bits.
const HASH_DIGITS: usize = 12;

/// The topics of one station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    root: String,
}

/// A name that cannot be part of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mqtt topic: {level} = {value:?}: cannot be a topic level; letters, digits, `-` and `_` are allowed")]
pub struct BadLevel {
    pub level: &'static str,
    pub value: String,
}

impl Topics {
    pub fn new(prefix: &str, site: &str, line: &str, station: &str) -> Result<Self, BadLevel> {
        let levels = prefix.split('/').map(|level| ("prefix", level)).chain([
            ("site", site),
            ("line", line),
            ("station", station),
        ]);
        for (level, value) in levels {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if value.is_empty() || !value.bytes().all(allowed) {
                return Err(BadLevel { level, value: value.to_owned() });
            }
        }
        Ok(Self { root: format!("{prefix}/{site}/{line}/{station}") })
    }

    /// What all topics of the station begin with; for people.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The client id of a station that was given none: letters and digits of its name, for people, and a hash of all levels, so
    /// that two stations of one name on two lines do not throw each other out. It never changes, and every broker accepts it.
    pub fn client_id(&self) -> String {
        let station = self.root.rsplit('/').next().unwrap_or_default();
        let letters = station.chars().filter(char::is_ascii_alphanumeric);
        let name: String = letters.take(LONGEST_CLIENT_ID - HASH_DIGITS).collect();
        name + &hex::sha256(self.root.as_bytes())[..HASH_DIGITS]
    }

    pub fn verdict(&self) -> String {
        self.leaf("verdict")
    }

    pub fn last(&self) -> String {
        self.leaf("last")
    }

    pub fn status(&self) -> String {
        self.leaf("status")
    }

    pub fn heartbeat(&self) -> String {
        self.leaf("heartbeat")
    }

    /// Where the line sends its triggers.
    pub fn trigger(&self) -> String {
        self.leaf("cmd/trigger")
    }

    pub fn trigger_ack(&self) -> String {
        self.leaf("cmd/trigger/ack")
    }

    fn leaf(&self, leaf: &str) -> String {
        format!("{}/{leaf}", self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_has_its_own_leaves() {
        let topics = Topics::new("plant/certiscope", "site-1", "line_2", "St3").unwrap();
        assert_eq!(topics.verdict(), "plant/certiscope/site-1/line_2/St3/verdict");
        assert_eq!(topics.status(), "plant/certiscope/site-1/line_2/St3/status");
    }

    #[test]
    fn a_client_id_is_made_of_all_levels() {
        let id = |prefix, site, line, station| Topics::new(prefix, site, line, station).unwrap().client_id();
        // Brokers may have it in their access lists: it must stay as it is.
        assert_eq!(id("certiscope", "certiscope", "certiscope", "station1"), "station18d53b3211215");
        let ids = [
            id("certiscope", "site", "line-a", "station1"),
            id("certiscope", "site", "line-b", "station1"),
            id("certiscope", "site-line", "a", "station1"),
            id("certiscope/site", "line", "a", "station1"),
            id("certiscope", "Site", "line-a", "station1"),
            id("certiscope", "site", "line-a", "station-1"),
            id("certiscope", "site", "line-a", &"station".repeat(9)),
            id("certiscope", "site", "line-a", "-_"),
        ];
        for (number, one) in ids.iter().enumerate() {
            assert!(one.len() <= 23 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
            assert!(!ids[..number].contains(one), "{one} twice");
        }
    }

    #[test]
    fn what_cannot_be_a_level_is_refused_by_name() {
        for bad in ["", "a/b", "+", "#", "a b", "größe", "a.b", "$SYS"] {
            let error = Topics::new("certiscope", "site", bad, "station").unwrap_err();
            assert_eq!(error, BadLevel { level: "line", value: bad.to_owned() });
        }
        assert_eq!(Topics::new("a//b", "site", "line", "station").unwrap_err().level, "prefix");
    }
}

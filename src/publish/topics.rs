//! The MQTT topics of a station: `{prefix}/{site}/{line}/{station}/{leaf}`.
//!
//! Guarantees: each level consists of `[A-Za-z0-9_-]+`, so no name can be a wildcard, contain a second level, or be a key that
//! a SCADA system cannot use. Only the prefix may have several levels.

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
    fn what_cannot_be_a_level_is_refused_by_name() {
        for bad in ["", "a/b", "+", "#", "a b", "größe", "a.b", "$SYS"] {
            let error = Topics::new("certiscope", "site", bad, "station").unwrap_err();
            assert_eq!(error, BadLevel { level: "line", value: bad.to_owned() });
        }
        assert_eq!(Topics::new("a//b", "site", "line", "station").unwrap_err().level, "prefix");
    }
}

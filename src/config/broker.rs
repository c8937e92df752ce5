//! `[broker]` and `[topics]`: where verdicts are sent, under which topics, and how the agent logs in.

use std::path::{Path, PathBuf};

use super::section::{Problems, Section};
use crate::publish::{BrokerSettings, Credentials, Topics};

pub(super) fn read_topics(
    mut section: Section<'_>,
    station: Option<&str>,
    problems: &Problems,
) -> Option<Topics> {
    let prefix: String = section.or("prefix", "certiscope");
    let site: String = section.or("site", "certiscope");
    let line: String = section.or("line", "certiscope");
    section.finish();
    Topics::new(&prefix, &site, &line, station?).map_err(|error| problems.add(error.to_string())).ok()
}

pub(super) fn read_broker(
    mut section: Section<'_>,
    station: Option<&str>,
    base: &Path,
    problems: &Problems,
) -> Option<BrokerSettings> {
    let host = section.required::<String>("host", "the MQTT broker's name or address");
    let port = section.or("port", 1883);
    let protocol = section.or("protocol", "5");
    let username = section.optional::<String>("username");
    let password_file = section.optional::<PathBuf>("password_file");
    let keep_alive_secs = section.or::<u16>("keep_alive_secs", 10);
    if !(5..=600).contains(&keep_alive_secs) {
        problems.add(format!("{} = {keep_alive_secs}: 5 to 600 are allowed", section.key("keep_alive_secs")));
    }
    let backlog_per_second = section.or::<u32>("backlog_per_second", 50);
    if !(1..=10_000).contains(&backlog_per_second) {
        problems.add(format!(
            "{} = {backlog_per_second}: 1 to 10000 are allowed",
            section.key("backlog_per_second")
        ));
    }
    if username.is_some() != password_file.is_some() {
        problems.add(
            "[broker]: username and password_file belong together: one is missing; give both or neither"
                .to_owned(),
        );
    }
    let password = password_file.and_then(|file| {
        let file = secret(&file, base);
        std::fs::read_to_string(&file)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| {
                problems.add(format!(
                    "{} = {}: cannot be read: {error}; a file with the password as its one line is needed",
                    section.key("password_file"),
                    file.display()
                ));
            })
            .ok()
    });
    let client_id = section.optional::<String>("client_id");
    section.finish();
    Some(BrokerSettings {
        protocol,
        host: host?,
        port,
        credentials: username.zip(password).map(|(username, password)| Credentials { username, password }),
        client_id: client_id.or_else(|| station.map(|station| format!("certiscope-{station}")))?,
        keep_alive_secs,
        backlog_per_second,
    })
}

/// The file to read a password from: the credential of that name, if systemd passes one (LoadCredential), or else the
/// file itself.
///
/// systemd names the credentials of a folder FOLDER_FILE. So `credentials/broker` works for a person who runs a command
/// as root, and for the service, which may not read that folder.
fn secret(file: &Path, base: &Path) -> PathBuf {
    let name = file.to_string_lossy().replace('/', "_");
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .filter(|_| file.is_relative())
        .map(|credentials| PathBuf::from(credentials).join(name))
        .filter(|credential| credential.exists())
        .unwrap_or_else(|| base.join(file))
}

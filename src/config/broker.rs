//! `[broker]` and `[topics]`: where verdicts are sent, under which topics, and how the agent logs in.

use std::path::{Path, PathBuf};

use super::host::read_host;
use super::password::read_password;
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
    topics: Option<&Topics>,
    base: &Path,
    problems: &Problems,
) -> Option<BrokerSettings> {
    let host = section.required::<String>("host", "the MQTT broker's name or address").and_then(|typed| {
        read_host(&typed).map_err(|why| problems.add(format!("{}{why}", section.key("host")))).ok()
    });
    let port = section.or::<u16>("port", 1883);
    if port == 0 {
        problems.add(format!("{} = 0: no broker listens there; 1 to 65535 are allowed", section.key("port")));
    }
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
        read_password(&file)
            .map_err(|why| {
                problems.add(format!("{} = {}: {why}", section.key("password_file"), file.display()));
            })
            .ok()
    });
    let client_id = section.optional::<String>("client_id");
    if let Some(typed) = client_id.as_deref()
        && (typed.trim().is_empty() || typed.chars().any(char::is_control))
    {
        problems.add(format!(
            "{} = {typed:?}: names no client: it is empty or has control characters; give a name that no other client of this broker has, or leave it out",
            section.key("client_id")
        ));
    }
    let retain = section.or("retain", true);
    section.finish();
    Some(BrokerSettings {
        protocol,
        host: host?,
        port,
        credentials: username.zip(password).map(|(username, password)| Credentials { username, password }),
        client_id: client_id.or_else(|| topics.map(Topics::client_id))?,
        keep_alive_secs,
        backlog_per_second,
        retain,
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

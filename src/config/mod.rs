//! The configuration: what a user typed, checked into what the agent runs on.
//!
//! Guarantees: a [`Config`] that exists is complete and consistent as far as can be seen without opening
//! anything; unknown keys are refused with the nearest known name; every problem is reported, not the
//! first. Leaves out: whether files, bundles and brokers are there (see `cli::check`).

mod section;
mod source;
#[cfg(test)]
mod tests;
mod trigger;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diffusion::onnx::{OnUnavailable, Provider, SessionSettings};
use crate::evidence::Keep;
use crate::preprocess::Region;
use crate::publish::{BrokerSettings, Credentials, Protocol, Topics};
use crate::retention::{Bounds, RetentionLimits};
use crate::smoothing::{NOT_A_RADIUS, Prior, RuleSettings};
use section::{Problems, Section};
use source::read_source;
pub use source::{Delivery, SourceConfig, SourceKind};

/// Everything wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {} problem{}\n{}", path.display(), problems.len(), if problems.len() == 1 { "" } else { "s" },
    problems.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    pub path: PathBuf,
    pub problems: Vec<String>,
}

/// A whole configuration. Without `Debug`, since a password is in it.
#[derive(Clone)]
pub struct Config {
    /// ONNX Runtime's library; `None` looks where set-up puts it.
    pub onnxruntime_library: Option<PathBuf>,
    /// Folder of the database and of the evidence.
    pub state_folder: PathBuf,
    /// Of which inspections evidence is kept, and how long it and the rows are.
    pub keep: Keep,
    pub limits: RetentionLimits,
    /// Where metrics can be read; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    pub station: StationConfig,
    /// The text as typed, stored with every start.
    pub text: String,
}

/// One inspection station: a source, a bundle, a rule, a connection.
#[derive(Clone)]
pub struct StationConfig {
    pub name: String,
    pub bundle: PathBuf,
    pub recipe: Option<String>,
    pub source: SourceConfig,
    pub region: Option<Region>,
    pub smoothing: SmoothingConfig,
    pub session: SessionSettings,
    /// A model call that takes longer hangs.
    pub call_limit: Duration,
    pub report_empirical: bool,
    pub broker: BrokerSettings,
    pub topics: Topics,
}

/// How a station draws and what it certifies; sigma and the threshold are the bundle's.
#[derive(Debug, Clone)]
pub struct SmoothingConfig {
    pub rule: RuleSettings,
    /// Radius that a `normal` must have for `pass_certified`.
    pub required_radius: f64,
    /// Draws per model call.
    pub batch: NonZeroU32,
    pub deadline_ms: Option<u64>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            path: path.to_path_buf(),
            problems: vec![format!("cannot be read: {error}; give a TOML file, such as config/folder.toml")],
        })?;
        Self::parse(&text, path)
    }

    /// Checks a configuration text. Relative paths in it are taken from the folder of `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let refused = |problems| ConfigError { path: path.to_path_buf(), problems };
        let table: toml::Table = toml::from_str(text).map_err(|error| refused(vec![error.to_string()]))?;
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let problems = Problems::default();
        let mut root = Section::new("", table, &problems);

        let mut runtime = root.section("onnxruntime");
        let onnxruntime_library = runtime.optional::<PathBuf>("library").map(|p| base.join(p));
        runtime.finish();
        let mut store = root.section("store");
        let state_folder = store.required::<PathBuf>("folder", "a folder for the database and the evidence");
        let rows =
            read_bounds(&mut store, Bounds { days: 365, bytes: 20_000 * MB, min_free_bytes: 200 * MB });
        store.finish();
        let mut evidence = root.section("evidence");
        let keep = read_keep(&mut evidence, &problems);
        let kept =
            read_bounds(&mut evidence, Bounds { days: 90, bytes: 20_000 * MB, min_free_bytes: 1_000 * MB });
        evidence.finish();
        let mut metrics = root.section("metrics");
        let metrics_listen = metrics.optional::<SocketAddr>("listen");
        if let Some(address) = metrics_listen.filter(|address| !address.ip().is_loopback()) {
            problems.add(format!(
                "{} = {address}: can be reached from other machines, and metrics know no password; an address of this machine only, such as 127.0.0.1:9464, is allowed",
                metrics.key("listen")
            ));
        }
        metrics.finish();
        let broker = root.section("broker");
        let topics = root.section("topics");
        let mut stations = root.sections("station");
        root.finish();
        if stations.len() != 1 {
            problems.add(format!(
                "[[station]]: {} of them: this version runs one station a process; exactly 1 is allowed",
                stations.len()
            ));
        }
        let station =
            stations.drain(..).next().map(|section| read_station(section, broker, topics, &base, &problems));
        match (state_folder, station.flatten(), problems.into_list()) {
            (Some(state_folder), Some(station), problems) if problems.is_empty() => Ok(Self {
                onnxruntime_library,
                state_folder: base.join(state_folder),
                keep,
                limits: RetentionLimits { evidence: kept, rows },
                metrics_listen,
                station,
                text: text.to_owned(),
            }),
            (_, _, problems) => Err(refused(problems)),
        }
    }
}

const MB: u64 = 1_000_000;

fn read_bounds(section: &mut Section<'_>, usual: Bounds) -> Bounds {
    let mb = |section: &mut Section<'_>, key, usual: u64| {
        section.optional::<u32>(key).map_or(usual, |mb| u64::from(mb) * MB)
    };
    Bounds {
        days: section.or("days", usual.days),
        bytes: mb(section, "max_mb", usual.bytes),
        min_free_bytes: mb(section, "min_free_mb", usual.min_free_bytes),
    }
}

fn read_keep(section: &mut Section<'_>, problems: &Problems) -> Keep {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Flagged,
        All,
        OneInN,
    }
    let n = section.optional::<NonZeroU32>("n");
    match section.or("keep", Word::OneInN) {
        Word::OneInN => Keep::OneInN(n.unwrap_or(NonZeroU32::new(100).expect("100 is above 0"))),
        word => {
            if n.is_some() {
                problems.add(format!("{}: belongs to keep = \"one_in_n\"; leave it out", section.key("n")));
            }
            if matches!(word, Word::All) { Keep::All } else { Keep::Flagged }
        }
    }
}

fn read_station(
    mut section: Section<'_>,
    broker: Section<'_>,
    topics: Section<'_>,
    base: &Path,
    problems: &Problems,
) -> Option<StationConfig> {
    let name = section.required::<String>("name", "the station's name, one level of its topics");
    let bundle = section.required::<PathBuf>("bundle", "a folder such as models/bundles/magnetic-tile");
    let recipe = section.optional::<String>("recipe");
    let report_empirical = section.or("report_empirical", false);
    let source = read_source(section.section("source"), base, problems);
    let region = section.optional_section("region").and_then(read_region);
    let smoothing = read_smoothing(section.section("smoothing"), problems);
    let (session, call_limit) = read_session(section.section("model"), problems);
    section.finish();
    let topics = read_topics(topics, name.as_deref(), problems);
    let broker = read_broker(broker, name.as_deref(), base, problems);
    Some(StationConfig {
        name: name?,
        bundle: base.join(bundle?),
        recipe,
        source: source?,
        region,
        smoothing: smoothing?,
        session,
        call_limit,
        report_empirical,
        broker: broker?,
        topics: topics?,
    })
}

fn read_region(mut section: Section<'_>) -> Option<Region> {
    let mut side = |key| section.required::<u32>(key, "pixels of the camera frame");
    let (x, y, width, height) = (side("x_px"), side("y_px"), side("width_px"), side("height_px"));
    section.finish();
    Some(Region { x: x?, y: y?, width: width?, height: height? })
}

fn read_smoothing(mut section: Section<'_>, problems: &Problems) -> Option<SmoothingConfig> {
    let alpha = section.or("alpha", RuleSettings::USUAL_ALPHA);
    let target_radius = section.required::<f64>(
        "target_radius",
        "the l2 radius at the model input to stop at, such as half the bundle's sigma",
    );
    let required_radius = section.optional::<f64>("required_radius");
    let max_draws = section.or("max_draws", RuleSettings::USUAL_MAX_DRAWS);
    let batch = section.or("batch", NonZeroU32::new(8).expect("8 is above 0"));
    let deadline_ms = section.optional::<u64>("deadline_ms");
    let prior = match section.optional::<Vec<[f64; 3]>>("prior") {
        None => Prior::default(),
        Some(components) => Prior::new(&components)
            .map_err(|error| problems.add(format!("{}: {error}", section.key("prior"))))
            .unwrap_or_default(),
    };
    let rule = RuleSettings { alpha, target_radius: target_radius.unwrap_or_default(), max_draws, prior };
    for problem in rule.problems() {
        problems.add(format!("{} = {}: {}", section.key(problem.key), problem.value, problem.why));
    }
    if let Some(radius) = required_radius.filter(|radius| !(*radius >= 0.0 && radius.is_finite())) {
        problems.add(format!("{} = {radius}: {NOT_A_RADIUS}", section.key("required_radius")));
    }
    if let (Some(target), Some(required)) = (target_radius, required_radius)
        && required > target
    {
        problems.add(format!(
            "{} = {required}: larger than target_radius = {target}, where drawing stops: few parts would pass; at most target_radius is allowed",
            section.key("required_radius")
        ));
    }
    if max_draws > 0 && batch.get() > max_draws {
        problems.add(format!(
            "{} = {batch}: larger than max_draws = {max_draws}; at most max_draws is allowed",
            section.key("batch")
        ));
    }
    if deadline_ms == Some(0) {
        problems.add(format!(
            "{} = 0: no draw fits; at least 1 is allowed, or leave it out for none",
            section.key("deadline_ms")
        ));
    }
    section.finish();
    let required_radius = required_radius.unwrap_or(target_radius?);
    Some(SmoothingConfig { rule, required_radius, batch, deadline_ms })
}

fn read_session(mut section: Section<'_>, problems: &Problems) -> (SessionSettings, Duration) {
    let threads = section.optional::<usize>("threads").unwrap_or_else(all_cores);
    if !(1..=256).contains(&threads) {
        problems.add(format!("{} = {threads}: 1 to 256 are allowed", section.key("threads")));
    }
    let settings = SessionSettings {
        provider: section.or("provider", Provider::Cpu),
        on_unavailable: section.or("on_unavailable", OnUnavailable::Refuse),
        threads,
    };
    let call_limit_ms = section.or::<u64>("call_limit_ms", 30_000);
    if !(100..=600_000).contains(&call_limit_ms) {
        problems
            .add(format!("{} = {call_limit_ms}: 100 to 600000 are allowed", section.key("call_limit_ms")));
    }
    section.finish();
    (settings, Duration::from_millis(call_limit_ms))
}

/// As many threads as the process may use cores.
pub fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read_topics(mut section: Section<'_>, station: Option<&str>, problems: &Problems) -> Option<Topics> {
    let plain = || "certiscope".to_owned();
    let prefix = section.or("prefix", plain());
    let site = section.or("site", plain());
    let line = section.or("line", plain());
    section.finish();
    Topics::new(&prefix, &site, &line, station?).map_err(|error| problems.add(error.to_string())).ok()
}

fn read_broker(
    mut section: Section<'_>,
    station: Option<&str>,
    base: &Path,
    problems: &Problems,
) -> Option<BrokerSettings> {
    let host = section.required::<String>("host", "the MQTT broker's name or address");
    let port = section.or::<u16>("port", 1883);
    let protocol = section.or("protocol", Protocol::V5);
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

/// Where to read a password or key from: what systemd hands over (LoadCredential) under that name, else the file.
/// systemd names the files of a folder FOLDER_FILE, so that `credentials/broker` means the same to a person who runs
/// a command as root and to the service, which may not read that folder.
fn secret(file: &Path, base: &Path) -> PathBuf {
    let name = file.to_string_lossy().replace('/', "_");
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .filter(|_| file.is_relative())
        .map(|credentials| PathBuf::from(credentials).join(name))
        .filter(|credential| credential.exists())
        .unwrap_or_else(|| base.join(file))
}

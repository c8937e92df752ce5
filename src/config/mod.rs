//! The configuration: reads a TOML file and checks it, before anything is opened.
//!
//! Guarantees: a [`Config`] is complete, and its values agree with each other; an unknown key is refused, with the
//! nearest known name; all problems are reported together.
//! Leaves out: checking that the files, the bundle and the broker that it names exist (see `cli::check`).
//! Every key is explained in `docs/configuration.md`, which a test compares with this reader.

mod broker;
mod host;
mod kept;
mod password;
mod section;
mod source;
#[cfg(test)]
mod tests;
mod trigger;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diffusion::onnx::SessionSettings;
use crate::evidence::Keep;
use crate::preprocess::Region;
use crate::publish::{BrokerSettings, Topics};
use crate::retention::RetentionLimits;
use crate::smoothing::{NOT_A_RADIUS, Prior, RuleSettings};
use broker::{read_broker, read_topics};
pub use section::IfMissing;
pub(crate) use section::KnownSource;
use section::{KnownKeys, Problems, Section};
use source::read_source;
pub(crate) use source::{QueuePolicy, SourceConfig, SourceKind};

/// Everything wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {} problem{}\n{}", path.display(), problems.len(), if problems.len() == 1 { "" } else { "s" },
    problems.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    pub path: PathBuf,
    pub problems: Vec<String>,
}

/// A whole configuration. It has no `Debug`, because it holds a password.
#[derive(Clone)]
pub struct Config {
    /// ONNX Runtime's library. `None`: it is looked for where `make setup` puts it.
    pub onnxruntime_library: Option<PathBuf>,
    /// Folder of the database and of the evidence.
    pub state_folder: PathBuf,
    /// For which inspections evidence is kept, and how long evidence and rows are kept.
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
    /// A model call that takes longer counts as hanging.
    pub call_limit: Duration,
    pub report_empirical: bool,
    pub broker: BrokerSettings,
    pub topics: Topics,
}

/// How many draws a station makes and what it certifies. Sigma and the threshold come from the bundle.
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
        Self::parse_and_note(text, path, &KnownKeys::default())
    }

    /// Every key that the reader knows, for each kind of source: what `docs/configuration.md` must list.
    pub fn known_keys() -> Vec<KnownSource> {
        let of = |kind| {
            // This text misses required keys, which are problems. The reader asks for them all the same, and only that
            // matters here.
            let text = format!("[[station]]\n[station.region]\n[station.source]\nkind = \"{kind}\"\n");
            let keys = KnownKeys::default();
            let _ = Self::parse_and_note(&text, Path::new("station.toml"), &keys);
            KnownSource { kind, keys: keys.into_list() }
        };
        ["folder", "simulator", "camera"].map(of).into()
    }

    /// Like [`Self::parse`]. Also adds every key that the reader asks for to `keys`.
    fn parse_and_note(text: &str, path: &Path, keys: &KnownKeys) -> Result<Self, ConfigError> {
        let refused = |problems| ConfigError { path: path.to_path_buf(), problems };
        let table: toml::Table = toml::from_str(text).map_err(|error| refused(vec![error.to_string()]))?;
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let problems = Problems::default();
        let mut root = Section::new("", table, &problems, keys);

        let mut runtime = root.section("onnxruntime");
        let onnxruntime_library = runtime.optional::<PathBuf>("library").map(|p| base.join(p));
        runtime.finish();
        let mut store = root.section("store");
        let state_folder = store.required::<PathBuf>("folder", "a folder for the database and the evidence");
        let rows = kept::read_bounds(&mut store, kept::ROWS);
        store.finish();
        let mut evidence = root.section("evidence");
        let keep = kept::read_keep(&mut evidence, &problems);
        let pictures = kept::read_bounds(&mut evidence, kept::EVIDENCE);
        evidence.finish();
        let mut metrics = root.section("metrics");
        let metrics_listen = metrics.optional::<SocketAddr>("listen");
        if let Some(address) = metrics_listen.filter(|address| !address.ip().is_loopback()) {
            problems.add(format!(
                "{} = {address}: can be reached from other machines, and metrics have no password; only an address of this machine, such as 127.0.0.1:9464, is allowed",
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
                "[[station]]: {} of them: this version runs one station in a process; exactly 1 is allowed",
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
                limits: RetentionLimits { evidence: pictures, rows },
                metrics_listen,
                station,
                text: text.to_owned(),
            }),
            (_, _, problems) => Err(refused(problems)),
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
    let broker = read_broker(broker, topics.as_ref(), base, problems);
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
    let batch = section.or::<NonZeroU32>("batch", 8);
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
            "{} = 0: leaves no time for a draw; at least 1 is allowed, or leave it out for no deadline",
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
        provider: section.or("provider", "cpu"),
        on_unavailable: section.or("on_unavailable", "refuse"),
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

/// The number of cores that the process may use.
pub(crate) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

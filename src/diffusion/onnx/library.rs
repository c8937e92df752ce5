//! Finds the library of ONNX Runtime and loads it, once per process.
//!
//! Guarantees: the library is loaded only where its telemetry is switched off. Its builds report their use to their maker as soon
//! as there is an environment, before anything can be set by a call; only a variable of the process stops that.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;

use super::error::{ONNXRUNTIME_VERSION, OnnxError};
use crate::sync::lock;

/// ONNX Runtime, loaded into this process. Loading it again returns the one that was loaded first.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// The variable that switches the library's telemetry off. The library reads it when its environment is made.
const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// Switches the telemetry of ONNX Runtime off for this process and for those that it starts, whatever their environment says.
/// Call it first in `main`, before any thread is started. Without it, [`Runtime::load`] refuses to load the library.
#[allow(unsafe_code)]
pub(crate) fn forbid_telemetry() {
    let (name, value) = NO_TELEMETRY;
    // SAFETY: no other thread runs yet, so none can be reading the environment. Not avoidable: the library reads the
    // environment, and starting this program again with another one would change its process id and its name.
    unsafe { std::env::set_var(name, value) };
}

/// The runtime that was loaded: the library allows one environment per process.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library. It is searched in this order: `configured`, `ORT_DYLIB_PATH`, the folder of an installed
    /// package, the cache that `make setup` fills, the system's search path.
    pub fn load(configured: Option<&Path>) -> Result<Self, OnnxError> {
        let mut loaded = lock(&LOADED);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let library = configured
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from))
            .or_else(|| {
                [packaged_library(), cached_library()].into_iter().flatten().find(|path| path.is_file())
            })
            .unwrap_or_else(|| PathBuf::from("libonnxruntime.so"));
        let (name, value) = NO_TELEMETRY;
        if std::env::var_os(name).is_none_or(|set| set != value) {
            return Err(OnnxError::Telemetry { name, value });
        }
        let refused = |why: String| OnnxError::Library { library: library.clone(), why };
        let environment = ort::init_from(&library)
            .map_err(|e| refused(e.to_string()))?
            .with_name("certiscope")
            // What a plant inspects must stay in the plant. Alone this comes too late: see NO_TELEMETRY.
            .with_telemetry(false)
            .build()
            .map_err(|e| refused(e.to_string()))?;
        Ok(loaded.insert(Self { environment, library }).clone())
    }

    pub fn library(&self) -> &Path {
        &self.library
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The description of the build that ONNX Runtime gives.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

/// Where a package puts the library: in lib/certiscope/, beside the folder bin/ of the program.
fn packaged_library() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let prefix = program.parent()?.parent()?;
    Some(prefix.join(format!("lib/certiscope/libonnxruntime.so.{ONNXRUNTIME_VERSION}")))
}

/// Where `make setup` puts the library.
fn cached_library() -> Option<PathBuf> {
    let cache = std::env::var_os("CERTISCOPE_CACHE").map(PathBuf::from).or_else(|| {
        let caches = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
        Some(caches.join("certiscope"))
    })?;
    Some(
        cache
            .join(format!("onnxruntime-{ONNXRUNTIME_VERSION}"))
            .join(format!("libonnxruntime.so.{ONNXRUNTIME_VERSION}")),
    )
}

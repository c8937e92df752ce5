//! The U-Net on ONNX Runtime. The only module that knows `ort`.
//!
//! Guarantees: a missing, broken or too old library is an error with the way out, never a panic; a
//! provider that was asked for and cannot run is refused or replaced by the CPU as configured, and
//! [`ProviderReport`] says which ran and why; with an accelerator, a node left to the CPU is an error.
//! Leaves out: which library version to use is set-up's business (`make`), int8 and engine caches.
//! Threads: a session belongs to the thread that owns the [`OnnxDenoiser`] (`&mut`).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array1, Array4, ArrayView4, Axis, Ix4};
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::denoiser::{Denoiser, DenoiserError, Prediction};
use super::schedule::Timestep;

/// The release that set-up fetches and that golden vectors were made with.
pub const ONNXRUNTIME_VERSION: &str = "1.31.1";

/// ONNX Runtime, loaded into this process. Loading a second time returns the first.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// The one that was loaded: the library allows a single environment in the life of a process.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Why the U-Net cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error(
        "onnxruntime: {}: cannot be loaded: {why}; `make setup` fetches version {ONNXRUNTIME_VERSION}, or set ORT_DYLIB_PATH to a libonnxruntime.so of at least 1.31",
        library.display()
    )]
    Library { library: PathBuf, why: String },
    #[error("model: {}: cannot be opened: {why}; a U-Net exported by `certiscope_models export` is needed", path.display())]
    Model { path: PathBuf, why: String },
    #[error("model: {}: {what} is {got}; the bundle says {wanted}", path.display())]
    Interface { path: PathBuf, what: &'static str, got: String, wanted: String },
    #[error(
        "model.provider = {provider}: cannot run here: {why}; mend that, or allow the processor (on_unavailable = \"cpu\" in a configuration, --or-cpu on the command line)"
    )]
    Provider { provider: &'static str, why: String },
}

impl Runtime {
    /// Loads the library from, in this order: `configured`, `ORT_DYLIB_PATH`, where a package puts it, the cache
    /// that set-up fills, the system's own search path.
    pub fn load(configured: Option<&Path>) -> Result<Self, OnnxError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
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
        let refused = |why: String| OnnxError::Library { library: library.clone(), why };
        let environment = ort::init_from(&library)
            .map_err(|e| refused(e.to_string()))?
            .with_name("certiscope")
            // What a plant inspects is nobody else's business; the library reports its use otherwise.
            .with_telemetry(false)
            .build()
            .map_err(|e| refused(e.to_string()))?;
        Ok(loaded.insert(Self { environment, library }).clone())
    }

    pub fn library(&self) -> &Path {
        &self.library
    }

    /// ONNX Runtime's own words about its build.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

/// Where a package puts the library: the program is bin/certiscope, this lib/certiscope/ beside it.
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

const EPS_HAT: &str = "eps_hat";
const DEFECT_LOGIT: &str = "defect_logit";

/// Where the U-Net is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
}

impl Provider {
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }
}

/// What happens when the provider asked for cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailable {
    Refuse,
    Cpu,
}

/// How the U-Net is to be run.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    pub provider: Provider,
    pub on_unavailable: OnUnavailable,
    /// Threads of one model call.
    pub threads: usize,
}

/// Which provider was asked for, which runs, and why they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReport {
    pub requested: Provider,
    pub active: Provider,
    pub reason: Option<String>,
    /// Build of the library that runs it, in its own words.
    pub onnxruntime: String,
    /// Of one model call.
    pub threads: usize,
}

/// A U-Net in an ONNX Runtime session.
pub struct OnnxDenoiser {
    session: Session,
    provider: ProviderReport,
    /// Does the graph give a defect map beside the predicted noise?
    head: bool,
}

impl OnnxDenoiser {
    /// Opens `model` and checks that it takes x_k \[B,C,H,W\] and k \[B\] and gives eps_hat \[B,C,H,W\] and, if it
    /// has a head, defect_logit \[B,1,H,W\], for `input` = \[C,H,W\].
    pub fn open(
        runtime: &Runtime,
        model: &Path,
        input: [usize; 3],
        settings: &SessionSettings,
    ) -> Result<Self, OnnxError> {
        let requested = settings.provider;
        let open_on = |provider| open_session(runtime, model, provider, settings.threads);
        let (session, active, reason) = match open_on(requested) {
            Ok(session) => (session, requested, None),
            Err(OnnxError::Provider { why, .. }) if settings.on_unavailable == OnUnavailable::Cpu => {
                (open_on(Provider::Cpu)?, Provider::Cpu, Some(why))
            }
            Err(error) => return Err(error),
        };
        let head = session.outputs().iter().any(|outlet| outlet.name() == DEFECT_LOGIT);
        check_interface(&session, model, input, head)?;
        let onnxruntime = runtime.build_info().to_owned();
        Ok(Self {
            session,
            provider: ProviderReport { requested, active, reason, onnxruntime, threads: settings.threads },
            head,
        })
    }

    /// Does the model give a defect map?
    pub fn has_head(&self) -> bool {
        self.head
    }

    pub fn provider(&self) -> &ProviderReport {
        &self.provider
    }
}

impl Denoiser for OnnxDenoiser {
    fn predict(&mut self, x_k: ArrayView4<'_, f32>, k: Timestep) -> Result<Prediction, DenoiserError> {
        let failed = |e: ort::Error| DenoiserError::Call(e.to_string());
        let timesteps = Array1::from_elem(x_k.dim().0, k.0 as i64);
        let x_k = x_k.as_standard_layout();
        let outputs = self
            .session
            .run(ort::inputs! {
                "x_k" => TensorRef::from_array_view(x_k.view()).map_err(failed)?,
                "k" => TensorRef::from_array_view(timesteps.view()).map_err(failed)?,
            })
            .map_err(failed)?;
        let output = |name: &'static str| -> Result<Array4<f32>, DenoiserError> {
            let array = outputs[name].try_extract_array::<f32>().map_err(failed)?;
            let got = array.shape().to_vec();
            let wrong = |_| DenoiserError::Shape { output: name, got, wanted: x_k.shape().to_vec() };
            array.into_dimensionality::<Ix4>().map(|array| array.to_owned()).map_err(wrong)
        };
        let defect_logit = match self.head {
            true => Some(output(DEFECT_LOGIT)?.index_axis_move(Axis(1), 0)),
            false => None,
        };
        Ok(Prediction { eps_hat: output(EPS_HAT)?, defect_logit })
    }
}

fn open_session(
    runtime: &Runtime,
    model: &Path,
    provider: Provider,
    threads: usize,
) -> Result<Session, OnnxError> {
    let unusable = |why: String| OnnxError::Model { path: model.to_path_buf(), why: why.trim().to_owned() };
    let words = |e: ort::Error<SessionBuilder>| unusable(e.to_string());
    let mut builder = Session::builder(&runtime.environment)
        .map_err(|e| unusable(e.to_string()))?
        .with_intra_threads(threads)
        .map_err(words)?
        // A station shares its cores with capture and the store; threads that spin starve them.
        .with_intra_op_spinning(false)
        .map_err(words)?;
    let unavailable =
        |why: String| OnnxError::Provider { provider: provider.word(), why: why.trim().to_owned() };
    match provider {
        Provider::Cpu => {}
        // TF32 off: golden vectors and thresholds are those of fp32.
        Provider::Cuda => ep::CUDA::default()
            .with_tf32(false)
            .register(&mut builder)
            .map_err(|e| unavailable(e.to_string()))?,
        Provider::TensorRt => {
            ep::TensorRT::default().register(&mut builder).map_err(|e| unavailable(e.to_string()))?;
        }
    }
    if provider != Provider::Cpu {
        builder = builder.with_disable_cpu_fallback().map_err(words)?;
    }
    builder.commit_from_file(model).map_err(|e| match provider {
        Provider::Cpu => unusable(e.to_string()),
        Provider::Cuda | Provider::TensorRt => unavailable(e.to_string()),
    })
}

fn check_interface(
    session: &Session,
    model: &Path,
    [c, h, w]: [usize; 3],
    head: bool,
) -> Result<(), OnnxError> {
    let picture = [-1, c as i64, h as i64, w as i64];
    let map = [-1, 1, h as i64, w as i64];
    let mut wanted = vec![
        ("input x_k", session.inputs(), "x_k", TensorElementType::Float32, &picture[..]),
        ("input k", session.inputs(), "k", TensorElementType::Int64, &[-1][..]),
        ("output eps_hat", session.outputs(), EPS_HAT, TensorElementType::Float32, &picture[..]),
    ];
    if head {
        wanted.push((
            "output defect_logit",
            session.outputs(),
            DEFECT_LOGIT,
            TensorElementType::Float32,
            &map[..],
        ));
    }
    for (what, outlets, name, element, shape) in wanted {
        let got = outlets.iter().find(|outlet| outlet.name() == name).map(|outlet| outlet.dtype());
        let right = matches!(got, Some(ValueType::Tensor { ty, shape: got, .. })
            if *ty == element && got.len() == shape.len()
            && got.iter().zip(shape).all(|(&got, &wanted)| got == wanted || got == -1));
        if !right {
            return Err(OnnxError::Interface {
                path: model.to_path_buf(),
                what,
                got: got.map_or("missing".to_owned(), ToString::to_string),
                wanted: format!("{element} {shape:?}"),
            });
        }
    }
    Ok(())
}

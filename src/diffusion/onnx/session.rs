//! A U-Net in an ONNX Runtime session: opens it, checks it against the bundle, and runs it.
//!
//! Guarantees: a model is opened only if its inputs and outputs have the names, types and shapes of the bundle. Outputs
//! are known by their names, whatever their order. What a call gives has the shape that the bundle says.

use std::path::Path;

use ndarray::{Array1, Array3, Array4, ArrayView4, Axis, Ix4};
use ort::ep::{self, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::error::OnnxError;
use super::library::Runtime;
use super::provider::{Provider, ProviderReport, SessionSettings, on_provider};
use crate::diffusion::denoiser::{Denoiser, DenoiserError, Prediction};
use crate::diffusion::schedule::Timestep;

const EPS_HAT: &str = "eps_hat";
const DEFECT_LOGIT: &str = "defect_logit";
const FEATURE_DISTANCE: &str = "feature_distance";
const X_K: &str = "x_k";
const K: &str = "k";

/// A U-Net in an ONNX Runtime session.
pub struct OnnxDenoiser {
    session: Session,
    provider: ProviderReport,
    /// Whether the graph gives a defect map beside the predicted noise.
    head: bool,
    /// Whether it gives the distance of its features to a bank of normal ones.
    features: bool,
    /// Whether it takes any timestep. A graph that is made for a single one has no input for it.
    takes_k: bool,
}

impl OnnxDenoiser {
    /// Opens `model` and checks that it takes x_k \[B,C,H,W\] and, unless it is made for one timestep, k \[B\], and
    /// nothing else; and that it gives eps_hat \[B,C,H,W\] and, if it has them, defect_logit and feature_distance
    /// \[B,1,H,W\]. `input` is \[C,H,W\].
    pub fn open(
        runtime: &Runtime,
        model: &Path,
        input: [usize; 3],
        settings: &SessionSettings,
    ) -> Result<Self, OnnxError> {
        let requested = settings.provider;
        let (session, active, reason) =
            on_provider(settings, |provider| open_session(runtime, model, provider, settings.threads))?;
        let given = |name| session.outputs().iter().any(|outlet| outlet.name() == name);
        let (head, features) = (given(DEFECT_LOGIT), given(FEATURE_DISTANCE));
        let takes_k = session.inputs().iter().any(|outlet| outlet.name() == K);
        check_interface(&session, model, input)?;
        let onnxruntime = runtime.build_info().to_owned();
        Ok(Self {
            session,
            provider: ProviderReport { requested, active, reason, onnxruntime, threads: settings.threads },
            head,
            features,
            takes_k,
        })
    }

    /// Whether the model gives a defect map.
    pub fn has_head(&self) -> bool {
        self.head
    }

    /// Whether the model gives a map of feature distances.
    pub fn has_features(&self) -> bool {
        self.features
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
        let mut inputs = ort::inputs! { X_K => TensorRef::from_array_view(x_k.view()).map_err(failed)? };
        if self.takes_k {
            inputs.push((K.into(), TensorRef::from_array_view(timesteps.view()).map_err(failed)?.into()));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let [batch, channels, height, width] = [0, 1, 2, 3].map(|axis| x_k.len_of(Axis(axis)));
        let output = |name: &'static str, channels: usize| -> Result<Array4<f32>, DenoiserError> {
            let array = outputs[name].try_extract_array::<f32>().map_err(failed)?;
            let wanted = [batch, channels, height, width];
            if array.shape() != wanted {
                let (got, wanted) = (array.shape().to_vec(), wanted.to_vec());
                return Err(DenoiserError::Shape { output: name, got, wanted });
            }
            Ok(array.into_dimensionality::<Ix4>().expect("the shape was checked").to_owned())
        };
        let map = |name: &'static str, given: bool| -> Result<Option<Array3<f32>>, DenoiserError> {
            given.then(|| Ok(output(name, 1)?.index_axis_move(Axis(1), 0))).transpose()
        };
        Ok(Prediction {
            eps_hat: output(EPS_HAT, channels)?,
            defect_logit: map(DEFECT_LOGIT, self.head)?,
            feature_distance: map(FEATURE_DISTANCE, self.features)?,
        })
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
    let mut builder = Session::builder(runtime.environment())
        .map_err(|e| unusable(e.to_string()))?
        .with_intra_threads(threads)
        .map_err(words)?
        // The model shares its cores with capture and the store, and spinning threads would slow those down.
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

fn check_interface(session: &Session, model: &Path, [c, h, w]: [usize; 3]) -> Result<(), OnnxError> {
    let picture = [-1, c as i64, h as i64, w as i64];
    let map = [-1, 1, h as i64, w as i64];
    let (inputs, outputs) = (session.inputs(), session.outputs());
    if let Some(other) = inputs.iter().find(|outlet| ![X_K, K].contains(&outlet.name())) {
        return Err(OnnxError::Interface {
            path: model.to_path_buf(),
            what: "input",
            got: format!("`{}`", other.name()),
            wanted: format!("`{X_K}` and, unless the graph is made for one timestep, `{K}`"),
        });
    }
    let float = TensorElementType::Float32;
    let wanted = [
        ("input x_k", inputs, X_K, float, &picture[..], true),
        ("input k", inputs, K, TensorElementType::Int64, &[-1][..], false),
        ("output eps_hat", outputs, EPS_HAT, float, &picture[..], true),
        ("output defect_logit", outputs, DEFECT_LOGIT, float, &map[..], false),
        ("output feature_distance", outputs, FEATURE_DISTANCE, float, &map[..], false),
    ];
    for (what, outlets, name, element, shape, needed) in wanted {
        let got = outlets.iter().find(|outlet| outlet.name() == name).map(|outlet| outlet.dtype());
        if got.is_none() && !needed {
            continue;
        }
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

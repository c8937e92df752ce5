//! A U-Net in an ONNX Runtime session: opens it, checks it against the bundle, and runs it.
//!
//! Guarantees: a model is opened only if its inputs and outputs have the names, types and shapes of the bundle.

use std::path::Path;

use ndarray::{Array1, Array4, ArrayView4, Axis, Ix4};
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

/// A U-Net in an ONNX Runtime session.
pub struct OnnxDenoiser {
    session: Session,
    provider: ProviderReport,
    /// Whether the graph gives a defect map beside the predicted noise.
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
        let (session, active, reason) =
            on_provider(settings, |provider| open_session(runtime, model, provider, settings.threads))?;
        let head = session.outputs().iter().any(|outlet| outlet.name() == DEFECT_LOGIT);
        check_interface(&session, model, input, head)?;
        let onnxruntime = runtime.build_info().to_owned();
        Ok(Self {
            session,
            provider: ProviderReport { requested, active, reason, onnxruntime, threads: settings.threads },
            head,
        })
    }

    /// Whether the model gives a defect map.
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

//! Re-exports of the private items that the integration tests (`tests/it`) use. Nothing else may use them: this crate is
//! a program, not a library.
//!
//! When no test uses an item any more, delete it here: then the compiler reports it if the program does not use it
//! either.

pub mod agent {
    pub use crate::agent::{AgentError, DiskProbe, Stop, Summary, run_on, run_with};
}
pub mod bundle {
    pub use crate::bundle::{Bundle, sha256_of};
    pub mod manifest {
        pub use crate::bundle::manifest::CalibrationSection;
    }
}
pub mod capture {
    pub use crate::capture::{
        BadFrame, CameraInfo, CaptureError, Channels, Drops, Frame, FrameSource, Picture, Samples,
        SourceEvent, Stamp, Trouble, TroubleKind,
    };
    pub mod folder {
        pub use crate::capture::folder::{FolderSettings, FolderSource};
    }
    pub mod simulator {
        pub use crate::capture::simulator::{DefectKind, Simulator, SimulatorSettings, simulate};
    }
}
pub mod certify {
    pub use crate::certify::certify;
}
pub mod cli {
    pub use crate::cli::end_on_panic;
}
pub mod computation {
    pub use crate::computation::Computation;
}
pub mod config {
    pub use crate::config::{Config, IfMissing};
}
pub mod detector {
    pub use crate::detector::Detector;
}
pub mod diffusion {
    pub mod denoiser {
        pub use crate::diffusion::denoiser::{Denoiser, DenoiserError, Prediction};
    }
    pub mod noise {
        pub use crate::diffusion::noise::NoisyDraw;
    }
    pub mod onnx {
        pub use crate::diffusion::onnx::{OnUnavailable, OnnxDenoiser, Provider, Runtime, SessionSettings};
    }
    pub mod reconstruct {
        pub use crate::diffusion::reconstruct::{Reconstruction, reconstruct};
    }
    pub mod schedule {
        pub use crate::diffusion::schedule::{NoiseLevel, Schedule, Timestep};
    }
    pub mod seed {
        pub use crate::diffusion::seed::FrameSeed;
    }
    pub mod testing {
        pub use crate::diffusion::testing::GaussianDenoiser;
    }
}
pub mod evaluation {
    pub use crate::evaluation::auroc;
}
pub mod evidence {
    pub use crate::evidence::{Keep, keep};
}
pub mod fuzz {
    pub use crate::fuzz::{FuzzTarget, run, seeds};
}
pub mod inspection {
    pub use crate::inspection::{Evidence, Inspection, Latency, Parameters};
}
pub mod inspector {
    pub use crate::inspector::{HeatMapWanted, Inspected, Inspector};
}
pub mod machine {
    pub use crate::machine::{clock_synchronised, disk_free_bytes, resident_bytes};
}
pub mod preprocess {
    pub use crate::preprocess::{Input, InputShape, Prepared, PreprocessError, Preprocessor, Region};
}
pub mod publish {
    pub use crate::publish::{
        BrokerFault, BrokerSettings, Connection, Credentials, DeliveryTimes, ProbeRequest, Probed, Protocol,
        PublishContext, Pump, Timing, Topics, probe,
    };
    pub mod json_output {
        pub use crate::publish::json_output::{JSON, Timeliness, encode, message};
    }
}
pub mod pulse {
    pub use crate::pulse::Pulse;
}
pub mod retention {
    pub use crate::retention::{
        Bounds, DiskRoom, DiskRooms, Moment, Retention, RetentionLimits, RetentionReport, RetentionStep, Why,
        sweep,
    };
}
pub mod score {
    pub use crate::score::{CertifiedScore, ScoreParameters, TrainingMaps, certified, empirical};
}
pub mod smoothing {
    pub use crate::smoothing::{Certificate, Prior, RuleSettings, SequentialRule, Side};
    pub mod fixed {
        pub use crate::smoothing::fixed::upper_rank;
    }
}
pub mod status {
    pub use crate::status::{DeliveryTime, Status};
    pub mod testing {
        pub use crate::status::testing::idle_station;
    }
}
pub mod stop {
    pub use crate::stop::end_at_once;
}
pub mod store {
    pub use crate::store::{
        Backlog, Boot, Committed, DeliveryState, Filter, Log, Order, Origin, OutputId, RowId, Store,
        StoreError, StoreErrorKind, StoreHandle, StoreThread,
    };
}
pub mod tensors {
    pub use crate::tensors::write;
}
pub mod verdict {
    pub use crate::verdict::{Reason, Verdict};
}

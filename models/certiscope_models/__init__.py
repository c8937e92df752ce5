"""Train a diffusion model on pictures of a normal product and write a certiscope bundle.

Reading order: `schedule` (noise levels) -> `output` -> `picture_files` (which files of a folder) -> `jpeg`, `decode`
(file to samples) -> `preprocess` (samples to model input) -> `picture_set` (do the pictures belong together?) ->
`grouping` (which pictures may be held back) -> `unet` -> `training_data`, `training`, `train` -> `score` (the one
definition of the score) -> `measure`, `figures`, `search`, `ablation` (how well a run detects) -> `foreign` (models
trained elsewhere) -> `onnx_graph` -> `bundle` -> `commands` -> `__main__`.

Guarantees: everything random comes from seeded generators, so a resumed training run equals an uninterrupted one.
An exported graph equals its PyTorch model within 1e-4, or no bundle is written.
Nothing leaves the machine: the libraries that would report home are told not to, before they are imported.
Leaves out: the threshold and the training maps, which only the Rust tool `certiscope calibrate` makes.
"""

import os

# Whatever the environment says. ONNX Runtime reports to its maker as soon as it is imported, and keeps an identifier of
# the machine below the home folder. huggingface_hub, which diffusers brings, names who asks it for files.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


class Refused(Exception):
    """A request that cannot be met. Its text is one line: `what: value: why; what is allowed`."""

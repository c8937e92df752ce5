"""Train a diffusion model on pictures of a normal product and write a certiscope bundle.

Reading order: `schedule` (noise levels) -> `preprocess` (file to model input) -> `grouping` (which pictures may be
held back) -> `unet` -> `training_data`, `training`, `train` -> `score` (the one definition of the score) ->
`measure`, `figures`, `search`, `ablation` (how well a run detects) -> `foreign` (models trained elsewhere) ->
`onnx_graph` -> `bundle` -> `commands` -> `__main__`.

Guarantees: everything random comes from seeded generators, so a resumed training run equals an uninterrupted one.
An exported graph equals its PyTorch model within 1e-4, or no bundle is written.
Leaves out: the threshold and the training maps, which only the Rust tool `certiscope calibrate` makes.
"""


class Refused(Exception):
    """A request that cannot be met. Its text is one line: `what: value: why; what is allowed`."""

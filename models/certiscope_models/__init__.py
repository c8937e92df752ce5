"""Train a diffusion model on pictures of a normal product and write a certiscope bundle.

Reading order: `schedule` (noise levels) -> `preprocess` (file to model input) -> `grouping` (which pictures may be
held back) -> `unet` -> `train` -> `score` (the one Python definition of the score) -> `foreign` (other people's
checkpoints) -> `onnx_graph` -> `bundle` -> `__main__` (the commands).

Guarantees: everything random comes from one seeded generator, so a resumed training run equals an uninterrupted one;
an exported graph equals its PyTorch model within 1e-4 or no bundle is written.
Leaves out: the threshold and the training maps, which only the Rust tool `certiscope calibrate` makes.
"""


class Refused(Exception):
    """A request that cannot be met; the text says `what: value: why; what is allowed`."""

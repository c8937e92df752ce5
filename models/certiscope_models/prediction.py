"""What one model call gives. Every model returns it: U-Nets, wrapped models, models trained elsewhere."""

from typing import NamedTuple

import torch


class Prediction(NamedTuple):
    """The outputs of one call for B noisy draws, in the order and with the names of the ONNX graph."""

    eps_hat: torch.Tensor  # the predicted noise [B, C, H, W]
    defect_logit: torch.Tensor | None = None  # log odds of a defect [B, 1, H, W]; None without a defect head
    feature_distance: torch.Tensor | None = None  # [B, 1, H, W], 0 or more; None without a bank of features
    denoised: torch.Tensor | None = None  # the draw without its noise, defects kept, in [0,1]; no output of the graph

    def present(self):
        """{name: output} of the outputs of the graph that the model gives."""
        return {name: output for name, output in self._asdict().items() if name in OUTPUTS and output is not None}


OUTPUTS = ("eps_hat", "defect_logit", "feature_distance")  # of the ONNX graph

"""The sample sheet of a training run: a PNG for a person to look at."""

import torch
from PIL import Image

from .objective import x_k_of


@torch.no_grad()
def sample_sheet(model, inputs, k, path):
    """Write rows of: input | x_k | x0_hat | defect map (with a head)."""
    generator = torch.Generator(inputs.device).manual_seed(0)
    eps = torch.randn(inputs.shape, generator=generator, device=inputs.device)
    steps = torch.full((len(inputs),), k, device=inputs.device)
    x_k, signal, noise = x_k_of(inputs, steps, eps)
    out = model(x_k, steps)
    x0_hat = ((x_k - noise * out.eps_hat) / signal + 1.0) / 2.0
    maps = [] if out.defect_logit is None else [torch.sigmoid(out.defect_logit).expand_as(inputs)]
    columns = torch.stack([inputs, (x_k + 1.0) / 2.0, x0_hat, *maps], dim=1).clamp(0.0, 1.0)  # [N, 3 or 4, C, H, W]
    n, across, c, h, w = columns.shape
    sheet = columns.permute(0, 3, 1, 4, 2).reshape(n * h, across * w, c)
    pixels = (sheet * 255.0).round().to(torch.uint8).cpu().numpy()
    Image.fromarray(pixels[..., 0] if c == 1 else pixels).save(path)

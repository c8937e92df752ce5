"""Real defects, pasted into pictures of good parts, so that the defect head learns how this line's defects look.

Each paste takes a real defect with its mask, mirrors, turns, enlarges and moves it, fits its brightness to the place
where it comes to lie, makes it stronger or weaker, and blends it in over a soft edge.
Guarantees: outside of the mask the picture is the given one, except for the soft edge. The mask holds only pixels that
changed visibly. Everything random comes from the given generator.
Leaves out: defects without a mask, which choose and are reported on, but teach nothing.
Pictures are float32 [B, C, H, W] in [0,1], masks [B, 1, H, W].
"""

import torch
from torch.nn import functional as F

from ..augment import between, log_between
from ..synthetic import VISIBLE

MASKED = 0.15  # a thin defect covers only a part of each of its pixels
SHARE = 0.5  # of the pictures with a defect, how many get a real one
EDGE_PX = 3  # width of the soft edge
TURN, ZOOM, SHIFT = 25.0, (0.7, 1.4), 0.35  # degrees; factors; share of the side
STRENGTH = (0.5, 1.3)  # factors of the difference to the part around it


class Pasted:
    """Real defects [N, C, H, W] with their masks [N, 1, H, W], which say for each pixel how much of it is defect."""

    def __init__(self, defects, masks):
        self.defects, self.masks = defects, (masks > MASKED).to(defects.dtype)

    def __len__(self):
        return len(self.defects)

    def paste(self, x, generator):
        """(changed, mask) of the pictures `x`, each with one real defect."""
        count = len(x)
        chosen = torch.randint(len(self), (count,), generator=generator, device=x.device)
        theta = placed(self.masks[chosen], generator)
        grid = F.affine_grid(theta, x.shape, align_corners=False)
        defect = F.grid_sample(self.defects[chosen], grid, padding_mode="reflection", align_corners=False)
        mask = F.grid_sample(self.masks[chosen], grid, align_corners=False)
        soft = F.avg_pool2d(F.max_pool2d(mask, 3, 1, 1), EDGE_PX, 1, EDGE_PX // 2)
        # the ring around it is good part in both pictures: what they differ by there is light, not defect
        ring = F.max_pool2d(mask, 9, 1, 4) - F.max_pool2d(mask, 3, 1, 1)
        weight = ring.sum(dim=(2, 3), keepdim=True).clamp(min=1.0)
        around, here = ((ring * picture).sum(dim=(2, 3), keepdim=True) / weight for picture in (defect, x))
        fitted = here + between(0.0, 1.0, count, generator) * (around - here)
        strength = log_between(*STRENGTH, count, generator)
        look = fitted + strength * (defect - around)
        changed = (x + soft * (look - x)).clamp(0.0, 1.0)
        difference = F.avg_pool2d((changed - x).abs().mean(dim=1, keepdim=True), 3, 1, 1)
        return changed, ((mask > 0.3) & (difference > VISIBLE)).to(x.dtype)

    def into(self, normal, changed, mask, defective, generator):
        """Give the last SHARE of the first `defective` pictures a real defect in place of a synthetic one."""
        first = defective - round(SHARE * defective)
        if first < defective and len(self):
            changed[first:defective], mask[first:defective] = self.paste(normal[first:defective], generator)


def placed(masks, generator):
    """Affine maps [B, 2, 3] about the middle of each mask, which comes to lie where a random shift puts it."""
    count, _, height, width = masks.shape
    across = (torch.arange(width, device=masks.device) + 0.5) * 2.0 / width - 1.0
    down = (torch.arange(height, device=masks.device) + 0.5) * 2.0 / height - 1.0
    weight = masks.sum(dim=(1, 2, 3)).clamp(min=1.0)
    middle_x = (masks.sum(dim=(1, 2)) * across).sum(dim=1) / weight
    middle_y = (masks.sum(dim=(1, 3)) * down).sum(dim=1) / weight
    angle = between(-TURN, TURN, count, generator).flatten() * (torch.pi / 180.0)
    scale = 1.0 / log_between(*ZOOM, count, generator).flatten()
    mirror = torch.where(between(0.0, 1.0, count, generator).flatten() < 0.5, -1.0, 1.0)
    to_x, to_y = (
        (m + 2.0 * between(-SHIFT, SHIFT, count, generator).flatten()).clamp(-0.85, 0.85) for m in (middle_x, middle_y)
    )
    ratio = height / width
    a, b = scale * torch.cos(angle) * mirror, -scale * torch.sin(angle) * ratio
    c, d = scale * torch.sin(angle) * mirror / ratio, scale * torch.cos(angle)
    rows = [a, b, middle_x - a * to_x - b * to_y, c, d, middle_y - c * to_x - d * to_y]
    return torch.stack(rows, dim=1).reshape(count, 2, 3)

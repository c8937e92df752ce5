"""Put synthetic defects into normal pictures, so that the defect head learns how changes of a surface can look.

The idea is that of DRAEM (Zavrtanik et al. 2021) and DiffusionAD (Zhang et al. 2023): training needs no real defects,
only changes of normal pictures at known places. A defect has a shape (where the picture changes) and an appearance (how
it changes). CATALOGUE lists the combinations; there are many on purpose, and they imitate no product. Lines and spots
mostly change the brightness, areas mostly the surface.
A function for a shape takes (count, x, generator) and returns the coverage [count, 1, H, W] in [0,1]. A function for an
appearance takes (x, coverage, others, generator) and returns the pictures as they would look if the defect covered all
of them.
Guarantees: outside of the mask every pixel is the given one, except for a faint change at a soft edge, just outside the
mask. The mask holds only pixels that changed by more than VISIBLE. Everything random comes from the given generator.
Picture i gets row i mod 8 of the catalogue and appearance (i div 8) mod 8 of that row, counted from a random start. So
a batch of 64 has every combination, a small batch can have any of them, and the tensors always have the same size.
Costs: about 2 ms for a picture of 128x128 on one core.
Pictures are float32 [B, C, H, W] in [0,1], masks [B, 1, H, W]. Lengths are px of a picture of 128x128; they grow with
the square root of the picture's area.
"""

from math import sqrt

import torch
from torch.nn import functional as F

from .augment import between, log_between, places

VISIBLE = 0.015  # mean change over 3x3 pixels below which a pixel counts as unchanged
TEXTURE = 48  # side of the random tables that smooth noise is read from
LINE_POINTS = 12


def with_defects(x, others, generator):
    """Return (changed, mask): each picture of `x` with one synthetic defect, and where it is.

    `others` are normal pictures whose surface some appearances use.
    """
    rows = len(CATALOGUE)
    first = int(torch.randint(rows * 8, (), generator=generator, device=generator.device))
    in_turn = [CATALOGUE[(n + first) % rows] for n in range(rows)]
    shapes = [shape(len(x[n::rows]), x, generator) for n, (shape, _) in enumerate(in_turn)]
    coverage = interleave(shapes, len(x))
    changed = x
    for appear in dict.fromkeys(appear for _, row in CATALOGUE for appear in row):
        chosen = torch.tensor([CATALOGUE[i % rows][1][i // rows % 8] is appear for i in range(first, first + len(x))])
        if chosen.any():
            chosen = chosen.view(-1, 1, 1, 1).to(x.device, non_blocking=True)
            changed = torch.where(chosen, appear(x, coverage, others, generator), changed)
    changed = (x + coverage * (changed - x)).clamp(0.0, 1.0)
    difference = (changed - x).abs().mean(dim=1, keepdim=True)
    seen = (F.avg_pool2d(difference, 3, 1, 1) > VISIBLE) & (coverage > 0.2)
    return torch.where(coverage > 0.0, changed, x), seen.to(x.dtype)


def interleave(parts, count):
    """Put the rows of several tensors together: row i of the result is row i // len(parts) of part i mod len(parts)."""
    out = parts[0].new_empty((count, *parts[0].shape[1:]))
    for n, part in enumerate(parts):
        out[n :: len(parts)] = part
    return out


# ---- smooth noise


def smooth_noise(count, x, cells, generator, stretch=1.0):
    """Smooth noise [count, 1, H, W] with mean 0 and deviation about 1 for the pictures `x`.

    A square picture of their area has `cells` features from side to side. `cells` and `stretch` are numbers or
    [B, 1, 1, 1]. Features are `stretch` times as long in one direction, which is random.
    """
    device = generator.device
    table = torch.randn(count, 1, TEXTURE, TEXTURE, generator=generator, device=device)
    angle = between(0.0, torch.pi, count, generator)
    px, across, down = pixels(x)
    u = (across * torch.cos(angle) + down * torch.sin(angle)) * cells / TEXTURE / (64 * px)
    v = (down * torch.cos(angle) - across * torch.sin(angle)) * cells / TEXTURE / (64 * px) / stretch
    start_u, start_v = between(-1, 1, count, generator), between(-1, 1, count, generator)
    grid = torch.cat([u + start_u, v + start_v], dim=1).permute(0, 2, 3, 1)
    return 1.6 * F.grid_sample(table, grid, padding_mode="reflection", align_corners=False)


def rough_edge(count, x, generator):
    """Noise of two sizes [count, 1, H, W], about in [-1,1]. Shapes add it to their edges, so that these are uneven."""
    cells = log_between(4.0, 24.0, count, generator)
    return 0.6 * (smooth_noise(count, x, cells, generator) + 0.5 * smooth_noise(count, x, 2 * cells, generator))


# ---- shapes: coverage in [0,1]; lengths in px of a 128x128 picture, scaled to the picture's size


def soft(inside, width):
    """The coverage of a shape, from the distance of each pixel to its edge; all in px.

    `inside` is positive inside the shape. The coverage rises from 0 to 1 over `width` px at the edge.
    """
    return (inside / width + 0.5).clamp(0.0, 1.0)


def pixels(x):
    """Return (px, across, down) of the pictures `x`.

    Shapes give lengths in px of a 128x128 picture; times `px` they are px of these pictures. `across` and `down` are
    the distances of the pixel centres from the middle, in px.
    """
    height, width = x.shape[2:]
    across, down = places(height, width, x.device)
    return sqrt(height * width) / 128.0, across * width / 2, down * height / 2


def anywhere(count, x, generator):
    """Random places (x, y) in the pictures `x`, in px from their middle, [count, 1, 1, 1] each."""
    height, width = x.shape[2:]
    return between(-0.48, 0.48, count, generator) * width, between(-0.48, 0.48, count, generator) * height


def region(count, x, generator):
    """Islands of any form, near one place or all over the picture: where smooth noise exceeds a level."""
    px, across, down = pixels(x)
    cells, stretch = log_between(2.0, 20.0, count, generator), log_between(1.0, 6.0, count, generator)
    field = smooth_noise(count, x, cells, generator, stretch)
    centre_x, centre_y = anywhere(count, x, generator)
    reach = log_between(6.0, 80.0, count, generator) * px
    near = torch.exp(-((across - centre_x) ** 2 + (down - centre_y) ** 2) / (2 * reach**2))
    field = field * near + 1.5 * (near - 1.0)
    share = between(0.005, 0.2, count, generator)
    ranked = field.flatten(1).sort(dim=1, descending=True).values
    level = ranked.gather(1, (share.flatten(1) * ranked.shape[1]).long()).view(-1, 1, 1, 1)
    level = level.clamp(min=-0.9)  # far from the place the field is -1.5 and must stay uncovered
    return ((field - level) / log_between(0.05, 0.6, count, generator) + 0.5).clamp(0.0, 1.0)


def crack(count, x, generator):
    """A thin line that changes its direction, such as a crack or a scratch."""
    px, across, down = pixels(x)
    at_x, at_y = anywhere(count, x, generator)
    heading = between(0.0, 2 * torch.pi, count, generator)
    step = log_between(8.0, 140.0, count, generator) * px / (LINE_POINTS - 1)
    jagged = log_between(0.02, 0.9, count, generator)
    bend = between(-0.15, 0.15, count, generator)
    distance = torch.full((count, 1, *x.shape[2:]), 1e9, device=x.device)
    for _ in range(LINE_POINTS - 1):
        heading = heading + bend + jagged * torch.randn(count, 1, 1, 1, generator=generator, device=x.device)
        along_x, along_y = step * torch.cos(heading), step * torch.sin(heading)
        q_x, q_y = across - at_x, down - at_y
        share = ((q_x * along_x + q_y * along_y) / step**2).clamp(0.0, 1.0)
        distance = torch.minimum(distance, (q_x - share * along_x) ** 2 + (q_y - share * along_y) ** 2)
        at_x, at_y = at_x + along_x, at_y + along_y
    half_width = log_between(0.3, 2.0, count, generator) * px
    half_width = half_width * (1.0 + 0.5 * rough_edge(count, x, generator)).clamp(0.2, 2.0)
    broken = (0.9 + between(0.0, 0.8, count, generator) * rough_edge(count, x, generator)).clamp(0.0, 1.0)
    return soft(half_width - distance.sqrt(), 1.0) * broken


def blobs(count, x, generator):
    """One to four round spots with uneven edges, such as holes, dents, stains and dirt."""
    px, across, down = pixels(x)
    uneven = rough_edge(count, x, generator) * between(0.0, 0.6, count, generator)
    edge = log_between(0.8, 6.0, count, generator)
    number = between(0.0, 4.0, count, generator)
    first_x, first_y = anywhere(count, x, generator)
    covered = torch.zeros(count, 1, *x.shape[2:], device=x.device)
    for n in range(4):
        centre_x = first_x + (n > 0) * between(-24.0, 24.0, count, generator) * px
        centre_y = first_y + (n > 0) * between(-24.0, 24.0, count, generator) * px
        radius = log_between(1.0, 16.0, count, generator) * px
        flat, angle = between(0.4, 1.0, count, generator), between(0.0, torch.pi, count, generator)
        q_x, q_y = across - centre_x, down - centre_y
        u = q_x * torch.cos(angle) + q_y * torch.sin(angle)
        v = (q_y * torch.cos(angle) - q_x * torch.sin(angle)) / flat
        inside = radius * (1.0 + uneven) - (u**2 + v**2).sqrt()
        covered = torch.maximum(covered, soft(inside, edge) * (number > n))
    return covered


def patch(count, x, generator):
    """A rectangle at any angle, such as a label or a pasted piece."""
    px, across, down = pixels(x)
    centre_x, centre_y = anywhere(count, x, generator)
    angle = between(0.0, torch.pi, count, generator)
    q_x, q_y = across - centre_x, down - centre_y
    u = (q_x * torch.cos(angle) + q_y * torch.sin(angle)).abs()
    v = (q_y * torch.cos(angle) - q_x * torch.sin(angle)).abs()
    half_u, half_v = (log_between(1.5, 32.0, count, generator) * px for _ in range(2))
    return soft(torch.minimum(half_u - u, half_v - v), log_between(0.8, 5.0, count, generator))


def band(count, x, generator):
    """A stripe with straight or uneven edges that covers up to half of the picture: an unevenly machined surface."""
    px, across, down = pixels(x)
    angle = between(0.0, torch.pi, count, generator)
    # about half of the stripes are parallel to a side of the picture, as machining marks often are
    angle = torch.where(between(0, 1, count, generator) < 0.5, (angle * 2 / torch.pi).round() * torch.pi / 2, angle)
    height, width = x.shape[2:]
    cos, sin = torch.cos(angle), torch.sin(angle)
    wide, long = torch.hypot(width * cos, height * sin), torch.hypot(height * cos, width * sin)  # of the picture
    q = across * cos + down * sin - between(-0.5, 0.5, count, generator) * wide
    along = down * cos - across * sin - between(-0.4, 0.4, count, generator) * long
    half = log_between(2.0, 50.0, count, generator) * px
    length = log_between(20.0, 160.0, count, generator) * px
    uneven = rough_edge(count, x, generator) * between(-2.0, 5.0, count, generator).clamp(min=0.0) * px
    edge = log_between(0.8, 14.0, count, generator) * px
    return soft(torch.minimum(half - q.abs(), length - along.abs()) + uneven, edge)


def edge_piece(count, x, generator):
    """A piece at the border of the picture, such as a chipped or worn edge."""
    px, across, down = pixels(x)
    height, width = x.shape[2:]
    along = between(-0.5, 0.5, count, generator)
    side = between(0.0, 4.0, count, generator).floor()
    upright = side < 2
    along = along * torch.where(upright, height, width)
    end = torch.where(upright, width, height) * torch.where(side % 2 == 0, -0.5, 0.5)
    end = end * between(0.7, 1.05, count, generator)
    q_x = across - torch.where(upright, end, along)
    q_y = down - torch.where(upright, along, end)
    deep, wide = log_between(2.0, 24.0, count, generator) * px, log_between(3.0, 50.0, count, generator) * px
    r_x, r_y = torch.where(upright, deep, wide), torch.where(upright, wide, deep)
    radius = ((q_x / r_x) ** 2 + (q_y / r_y) ** 2).sqrt()
    uneven = rough_edge(count, x, generator) * between(0.1, 0.8, count, generator)
    return soft((1.0 + uneven - radius) * torch.minimum(deep, wide), log_between(0.8, 4.0, count, generator))


# ---- appearances: the picture as it would look if the defect covered all of it


def signed(low, high, count, generator, dark=0.6):
    """Random changes of brightness [count, 1, 1, 1]: log-uniform in size, negative in a share `dark` of the cases."""
    size = log_between(low, high, count, generator)
    return torch.where(between(0.0, 1.0, count, generator) < dark, -size, size)


def step(x, coverage, others, generator):
    """Change the brightness evenly."""
    return x + signed(0.03, 0.6, len(x), generator)


def displaced(x, generator):
    """Move each picture by whole pixels, an eighth to a half of each side; the missing part is mirrored."""
    count = len(x)
    ways = [torch.where(between(0.0, 1.0, count, generator) < 0.5, -1.0, 1.0) for _ in range(2)]
    sides = x.shape[3], x.shape[2]
    lengths = [(between(1 / 8, 1 / 2, count, generator) * side).round() * 2.0 / side for side in sides]
    moves = [way * length for way, length in zip(ways, lengths)]
    one, none = torch.ones_like(moves[0]), torch.zeros_like(moves[0])
    theta = torch.cat([one, none, moves[0], none, one, moves[1]], dim=1).reshape(count, 2, 3)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def other_surface(x, coverage, others, generator):
    """Mix the picture with the surface of another normal picture."""
    borrowed = displaced(others, generator)
    return x + between(0.3, 1.0, len(x), generator) * (borrowed - x) + signed(0.01, 0.2, len(x), generator)


def foreign_texture(x, coverage, others, generator):
    """Replace the surface by a random texture, unlike that of the product."""
    count = len(x)
    cells = log_between(4.0, 60.0, count, generator)
    grain = smooth_noise(count, x, cells, generator, log_between(1.0, 8.0, count, generator))
    level = (x * coverage).sum(dim=(1, 2, 3), keepdim=True) / coverage.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1.0)
    level = level / x.shape[1] + signed(0.01, 0.3, count, generator)
    return level + log_between(0.02, 0.25, count, generator) * grain


def shifted(x, coverage, others, generator):
    """Replace the surface by that of another place of the same picture."""
    return displaced(x, generator) + signed(0.005, 0.15, len(x), generator)


def blurred(x, coverage, others, generator):
    """Smear the grain or make it stronger, and change the brightness a little."""
    wide = F.avg_pool2d(F.pad(x, (3,) * 4, mode="reflect"), 7, 1)
    return wide + (x - wide) * between(-0.2, 3.0, len(x), generator) + signed(0.01, 0.2, len(x), generator)


def shading(x, coverage, others, generator):
    """Change the brightness slowly from place to place, as on a surface that is no longer flat."""
    count = len(x)
    slow = smooth_noise(count, x, log_between(1.0, 8.0, count, generator), generator)
    return x + log_between(0.04, 0.3, count, generator) * slow + signed(0.01, 0.15, count, generator, 0.5)


def streaks(x, coverage, others, generator):
    """Add long marks in one direction, as a tool leaves them."""
    count = len(x)
    cells, stretch = log_between(8.0, 60.0, count, generator), log_between(6.0, 40.0, count, generator)
    marks = smooth_noise(count, x, cells, generator, stretch)
    return x + log_between(0.03, 0.25, count, generator) * marks + signed(0.01, 0.12, count, generator)


def relief(x, coverage, others, generator):
    """Light the edges from one side, as of a dent, a hole or a burr: bright towards the lamp, dark away from it."""
    count = len(x)
    smooth = F.avg_pool2d(F.pad(coverage, (2,) * 4, mode="replicate"), 5, 1)
    slope_x = smooth.roll(-1, 3) - smooth.roll(1, 3)
    slope_y = smooth.roll(-1, 2) - smooth.roll(1, 2)
    angle = between(0.0, 2 * torch.pi, count, generator)
    facing = slope_x * torch.cos(angle) + slope_y * torch.sin(angle)
    return x + log_between(0.1, 1.5, count, generator) * facing + signed(0.005, 0.3, count, generator, 0.7)


MARK = (step, step, relief, step, step, blurred, step, foreign_texture)
AREA = (other_surface, step, streaks, shifted, shading, foreign_texture, other_surface, blurred)
CATALOGUE = (
    (crack, MARK),
    (blobs, MARK),
    (region, AREA),
    (band, AREA),
    (crack, MARK),
    (blobs, (step, relief, foreign_texture, step, shading, other_surface, step, streaks)),
    (edge_piece, (step, other_surface, relief, step, foreign_texture, shifted, step, blurred)),
    (patch, AREA),
)

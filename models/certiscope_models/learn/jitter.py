"""How good parts of this line differ, estimated from the pictures themselves.

Each picture is registered to the median of all: the turn, zoom and shift at which their fine structure agrees best.
Where it agrees nowhere, as on textures, a part has no place to be shifted from, and windows of the picture are taken
instead. Exposure and light are the spread of the means of 4x4 blocks: their common part, and their slope.
Guarantees: the same pictures give the same jitter. Each value has a floor and a ceiling (below), so that an odd picture
or a perfect set gives no nonsense.
Leaves out: changes that no jitter makes, such as other sides of a part.
Costs: about 5 s for 64 pictures at 128x128 on two cores.
"""

import numpy as np

from ..augment import Line

AT_MOST = 64  # pictures looked at
SIDE = 96  # px that they are compared at
TURNS = np.arange(-10.0, 10.1, 2.0)  # degrees
ZOOMS = np.array([-0.08, -0.04, 0.0, 0.04, 0.08])
FARTHEST = 0.125  # share of the side that a shift is looked for in
AGREES = 0.5  # correlation above which a picture lies as the median does
BEYOND = 0.95  # the quantile of what was seen that becomes the jitter
GRAIN = 0.15  # mean difference of the log spectra that counts as none
WINDOWS = 0.15  # crop where nothing registers; what the bundle of the magnetic tiles was trained with
EXPOSURE, LIGHT = (0.03, 0.2), (0.03, 0.2)
ALIKE = 0.015  # loss of correlation by mirroring that counts as none
# (mirrored bottles, pills and transistors lose 0.03 to 0.1, mirrored tiles 0.01)


def estimate(small):
    """(Line for pictures of side 1: `shift` as a share of the side, a line for a person) from [N, S, S] greys."""
    chosen = small[np.linspace(0, len(small) - 1, min(AT_MOST, len(small))).astype(int)].astype(np.float32)
    found = registered(chosen)
    agrees = found["agreement"] > AGREES
    exposure, light = lighting(chosen)
    flips = mirrored_alike(chosen)
    lit = {"flips": flips, "exposure": round(exposure, 3), "light": round(light, 3)}
    if agrees.mean() < 0.5:
        why = f"{agrees.mean():.0%} of the pictures lie as their median does: windows of them instead of shifts"
        return {**lit, "crop": WINDOWS, "shift": 0.0, "turn": 0.0, "zoom": 0.0}, why
    shift, turn, zoom = (float(np.quantile(np.abs(found[name][agrees]), BEYOND)) for name in ("shift", "turn", "zoom"))
    why = f"{agrees.mean():.0%} of the pictures lie as their median does, within these shifts, turns and zooms"
    return {**lit, "crop": 0.0, "shift": shift, "turn": turn, "zoom": round(zoom, 3)}, why


def line_of(jitter, side):
    """The jitter as settings of a training at this side of the model input."""
    return Line(**{**jitter, "shift": round(jitter["shift"] * side)})


def fine(pictures):
    """Pictures [N, S, S] without slow changes, with a soft border, mean 0 and norm 1."""
    side = pictures.shape[-1]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    passed = np.exp(-((frequency / (side / 5)) ** 2)) - np.exp(-((frequency / 4.0) ** 2))
    window = np.hanning(side + 2)[1:-1]
    flat = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    flat = np.fft.irfft2(np.fft.rfft2(flat * np.sqrt(window[:, None] * window[None])) * passed, s=pictures.shape[1:])
    return flat / (np.linalg.norm(flat, axis=(1, 2), keepdims=True) + 1e-9)


def details(pictures):
    """Pictures [N, S, S] less everything coarser than a print or an edge, norm 1."""
    side = pictures.shape[-1]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    flat = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    flat = np.fft.irfft2(np.fft.rfft2(flat) * (1.0 - np.exp(-((frequency / (side / 5)) ** 2))), s=pictures.shape[1:])
    return flat / (np.linalg.norm(flat, axis=(1, 2), keepdims=True) + 1e-9)


def turned(picture, degrees, zoom):
    """A picture [S, S] turned and enlarged about its middle; bilinear, the border repeated."""
    side = len(picture)
    at = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(at, at, indexing="ij")
    angle, scale = np.deg2rad(degrees), 1.0 / (1.0 + zoom)
    u = np.clip(scale * (np.cos(angle) * x - np.sin(angle) * y) + (side - 1) / 2, 0, side - 1.001)
    v = np.clip(scale * (np.sin(angle) * x + np.cos(angle) * y) + (side - 1) / 2, 0, side - 1.001)
    i, j = v.astype(int), u.astype(int)
    p, q = v - i, u - j
    upper = picture[i, j] * (1 - q) + picture[i, j + 1] * q
    return upper * (1 - p) + (picture[i + 1, j] * (1 - q) + picture[i + 1, j + 1] * q) * p


def registered(pictures):
    """{"agreement", "shift", "turn", "zoom"}: arrays [N], the best of all turns, zooms and shifts of the median."""
    pictures = shrunk(pictures)
    side = pictures.shape[-1]
    reach = int(side * FARTHEST)
    spectra = np.fft.rfft2(fine(pictures))
    middle = np.median(pictures, axis=0)
    best = {name: np.zeros(len(pictures)) for name in ("shift", "turn", "zoom")} | {
        "agreement": np.full(len(pictures), -1.0)
    }
    offsets = np.fft.fftfreq(side, 1.0 / side)
    near = np.abs(offsets) <= reach
    allowed = near[:, None] & near[None]
    # Of two that agree equally, the one that moves less: it comes first.
    for turn in sorted(TURNS, key=abs):
        for zoom in sorted(ZOOMS, key=abs):
            reference = np.fft.rfft2(fine(turned(middle, turn, zoom)[None]))
            agreement = np.fft.irfft2(spectra * reference.conj(), s=(side, side))
            agreement = np.where(allowed, agreement, -1.0).reshape(len(pictures), -1)
            at = agreement.argmax(axis=1)
            value = agreement[np.arange(len(pictures)), at]
            better = value > best["agreement"] + 1e-3
            rows, columns = np.unravel_index(at, (side, side))
            moved = np.maximum(np.abs(offsets[rows]), np.abs(offsets[columns])) / side
            for name, values in (("agreement", value), ("shift", moved), ("turn", turn), ("zoom", zoom)):
                best[name] = np.where(better, values, best[name])
    return best


def shrunk(pictures):
    """Pictures [N, S, S] of at most SIDE px: their spectrum is cut."""
    side = pictures.shape[-1]
    if side <= SIDE:
        return pictures
    kept = np.fft.fftshift(np.fft.fft2(pictures), axes=(1, 2))
    first = (side - SIDE) // 2
    kept = np.fft.ifftshift(kept[:, first : first + SIDE, first : first + SIDE], axes=(1, 2))
    return (np.fft.ifft2(kept).real * (SIDE / side) ** 2).astype(np.float32)


def lighting(pictures):
    """(exposure, light): what the block means of most pictures differ by from those of the median, as shares."""
    side = pictures.shape[-1] // 4 * 4
    blocks = pictures[:, :side, :side].reshape(len(pictures), 4, side // 4, 4, side // 4).mean(axis=(2, 4))
    ratio = np.log((blocks + 0.02) / (np.median(blocks, axis=0) + 0.02))
    common = np.median(ratio, axis=(1, 2))
    across = np.array([-0.75, -0.25, 0.25, 0.75])
    slopes = np.stack([(ratio * across).mean(axis=(1, 2)), (ratio * across[:, None]).mean(axis=(1, 2))])
    slopes = slopes / (across**2).mean()
    exposure = float(np.quantile(np.abs(common), BEYOND))
    light = 2.0 * float(np.quantile(np.abs(slopes), BEYOND))  # a light of 1 has a slope of a half
    return min(max(exposure, EXPOSURE[0]), EXPOSURE[1]), min(max(light, LIGHT[0]), LIGHT[1])


def grains_alike(shapes):
    """Whether the spectrum of the details is the same when it is mirrored: grain that runs aslant has a direction."""
    spectrum = np.log((np.abs(np.fft.fft2(shapes)) ** 2).mean(axis=0) + 1e-12)
    mirrored = np.roll(np.flip(spectrum, 0), 1, axis=0)
    differs = float(np.abs(spectrum - mirrored)[1:, 1:].mean())
    return differs < GRAIN + 2.0 / np.sqrt(len(shapes))  # the mean of few pictures differs by chance


def mirrored_alike(pictures):
    """Whether pictures mirrored on either axis look as much like the others as they do unmirrored."""
    shapes = details(shrunk(pictures))
    if not grains_alike(shapes):
        return False
    flat = shapes.reshape(len(shapes), -1)
    others = ~np.eye(len(flat), dtype=bool)
    plain = float(np.median((flat @ flat.T)[others]))
    for axis in (1, 2):
        mirrored = np.flip(shapes, axis).reshape(len(flat), -1)
        if float(np.median((flat @ mirrored.T)[others])) < plain - ALIKE:
            return False
    return True

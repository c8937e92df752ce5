"""Make a second product to try everything with: photographed textures with defects, in the folder layout of MVTec AD.

    pip install numpy==2.4.6 pillow==13.0.0 scikit-image==0.26.0    # scikit-image brings scipy
    python examples/textures.py --out textures                      # textures/brick, textures/grass, textures/gravel
    python examples/textures.py --out textures --category gravel    # one of them

scikit-image ships the three 512x512 originals inside its wheel, so nothing is fetched. All are CC0: brick and gravel
from CC0Textures (Bricks25, Gravel04), grass by linolafett on DeviantArt (Grass-01); see `skimage.data`.

Every picture is a window of the original: shifted, rotated a little, flipped, exposed differently. The defects are
made in other ways than those that training uses (blends, cracks, ellipses, pasted cuts, steps).
Guarantees: training and test windows come from disjoint sides of the original, with a guard band between them. A
picture equals its defect-free twin wherever its mask is 0. It depends on the seed, its class and its number only, and
with the pinned packages the same seed gives the same bytes. A folder that is not empty is refused.
Leaves out: independence within a side. The windows overlap, so hundreds of pictures say little more than a few. A
figure on them shows that the program works, not how well it will do on another product.
Costs: about 12 s a category.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

CATEGORIES = ("brick", "grass", "gravel")
SIDE = 128
TURN = np.radians(6)  # largest rotation of a window
REACH = SIDE / 2 * (np.cos(TURN) + np.sin(TURN))  # how far from its centre a window can sample
GUARD = 16  # columns between training and test
TRAIN_COLUMNS = 272
FAINTEST = 1.2  # smallest norm of a change, in [0,1] units: some defects cannot be seen, such as smear on a plain brick
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(float)


def side_of(original, split):
    """The columns of `original` that `split` may see."""
    return original[:, :TRAIN_COLUMNS] if split == "train" else original[:, TRAIN_COLUMNS + GUARD :]


def window(side, rng):
    """A good picture [SIDE, SIDE] in [0,1]: a random window of `side`, as a camera might see it."""
    y, x = (rng.uniform(REACH, extent - 1 - REACH) for extent in side.shape)
    sin, cos = np.sin(turn := rng.uniform(-TURN, TURN)), np.cos(turn)
    down, right = (rng.choice([-1, 1]) * (axis - (SIDE - 1) / 2) for axis in (ROWS, COLUMNS))
    seen = resample(side, y + cos * down + sin * right, x + cos * right - sin * down)
    lit = rng.uniform(0.85, 1.15) + rng.uniform(-0.08, 0.08) * down / SIDE + rng.uniform(-0.08, 0.08) * right / SIDE
    return (seen * lit).clip(0, 1)


def resample(picture, rows, columns):
    return ndimage.map_coordinates(picture, [rows, columns], order=3, mode="mirror")


# Where a defect is: for each pixel how far inside the edge it lies, in pixels (negative: outside).


def from_centre(rng):
    """The rows and columns of all pixels, relative to a random place that is not near the border."""
    return ROWS - rng.uniform(0.25, 0.75) * SIDE, COLUMNS - rng.uniform(0.25, 0.75) * SIDE


def turned(place, angle):
    """Rows and columns as distances along the direction `angle` and across it."""
    y, x = place
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def patch(rng, smallest, largest):
    """A round patch with an uneven edge."""
    y, x = from_centre(rng)
    angle = np.arctan2(y, x)
    bumps = sum(rng.uniform(0, 0.4 / order) * np.cos(order * angle + rng.uniform(0, 6.3)) for order in (2, 3, 5))
    return rng.uniform(smallest, largest) * (1 + bumps) - np.hypot(y, x)


def blend(good, changed, inside, edge):
    """Return `good` with `changed` blended in over `edge` pixels where `inside` is positive, and the changed pixels."""
    share = (inside / edge).clip(0, 1)
    return good + share * (changed - good), share > 0


# The defects: from a good picture to the defective one and its mask.


def smear(good, rng):
    """A patch rubbed in one direction."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(9, 16)
    steps = length * np.linspace(-1, 1, 33)
    moved = [resample(good, ROWS + step * np.sin(angle), COLUMNS + step * np.cos(angle)) for step in steps]
    return blend(good, np.mean(moved, axis=0), patch(rng, 13, 22), 2)


def swirl(good, rng):
    """A patch twisted about its centre; its rim does not move."""
    y, x = from_centre(rng)
    inside = 1 - np.hypot(y, x) / rng.uniform(20, 32)
    turn = rng.choice([-1, 1]) * rng.uniform(2, 4) * inside.clip(0) ** 1.5
    rows, columns = np.cos(turn) * y + np.sin(turn) * x - y, np.cos(turn) * x - np.sin(turn) * y - x
    return resample(good, ROWS + rows, COLUMNS + columns), inside > 0


def bare(good, rng):
    """A patch without texture: the local mean and fine noise."""
    filled = ndimage.gaussian_filter(good, 12) + rng.normal(0, 0.02, good.shape)
    return blend(good, filled, patch(rng, 9, 17), 2)


def foreign_object(good, rng):
    """A screw or a leaf that lies on the product."""
    draw = screw if rng.random() < 0.5 else leaf
    inside, shade = draw(*turned(from_centre(rng), rng.uniform(0, 2 * np.pi)), rng)
    return blend(good, shade, inside, 1)


def screw(along, across, rng):
    length, thick = rng.uniform(24, 38), rng.uniform(2.5, 4)
    shank = np.minimum(along, thick * (0.25 + (length - along) / 8).clip(0, 1) - np.abs(across))
    head = np.minimum(np.minimum(along + 5, -along + 1), 2 * thick - np.abs(across))
    width = np.where(along < 1, 2 * thick, thick)
    round_light = np.sqrt((1 - (across / width + 0.3) ** 2).clip(0))
    thread = 0.14 * np.cos(2 * np.pi * (along + 0.5 * across) / 3.5) * (along > 1)
    return np.maximum(shank, head), (0.12 + 0.7 * round_light + thread).clip(0, 1)


def leaf(along, across, rng):
    length, wide, tone = rng.uniform(26, 44), rng.uniform(5, 9), rng.choice([0.25, 0.7])
    belly = np.sin(np.pi * (along / length).clip(0, 1)) ** 0.8
    veins = 0.05 * np.cos(2 * np.pi * (along - np.abs(across)) / 6)
    fold = 0.1 * np.tanh(across) - 0.12 * (np.abs(across) < 0.8)
    return wide * belly - np.abs(across), (tone + veins + fold).clip(0, 1)


def wet(good, rng):
    """A damp spot: the same texture, darker, with a soft edge."""
    return blend(good, good ** rng.uniform(1.4, 2), patch(rng, 17, 28), 8)


def seam(good, rng):
    """A joint: a narrow strip in which the texture is displaced along the strip."""
    angle, shift = rng.uniform(0, np.pi), rng.choice([-1, 1]) * rng.uniform(8, 20)
    along, across = turned(from_centre(rng), angle)
    inside = np.minimum(rng.uniform(4, 8) - np.abs(across), rng.uniform(25, 50) - np.abs(along))
    moved = resample(good, ROWS + shift * np.sin(angle), COLUMNS + shift * np.cos(angle))
    return blend(good, moved * (1 - 0.5 * np.exp(-(across**2))), inside, 1)


KINDS = {f.__name__: f for f in (bare, foreign_object, seam, smear, swirl, wet)}


def render(original, seed, split, kind, number):
    """Return (picture, defect-free twin, mask), 8-bit grey. `kind` is the kind of defect, or "good"."""
    classes = ["good", *KINDS]
    pose, defect = np.random.default_rng([seed, split == "train", classes.index(kind), number]).spawn(2)
    good = window(side_of(original, split), pose)
    twin = np.rint(255 * good).astype(np.uint8)
    if kind not in KINDS:
        return twin, twin, np.zeros_like(twin)
    while True:
        changed, mask = KINDS[kind](good, defect)
        if np.linalg.norm((changed - good)[mask]) >= FAINTEST:
            changed = np.rint(255 * changed.clip(0, 1)).astype(np.uint8)
            return np.where(mask, changed, twin), twin, np.uint8(255) * mask


def write(folder, original, seed, train, test_good, per_kind):
    """Write a whole category below `folder`."""
    plan = [("train", "good", train), ("test", "good", test_good), *(("test", kind, per_kind) for kind in KINDS)]
    for split, kind, count in plan:
        for number in range(count):
            picture, _, mask = render(original, seed, split, kind, number)
            save(picture, folder / split / kind / f"{number:04}.png")
            if kind in KINDS:
                save(mask, folder / "ground_truth" / kind / f"{number:04}_mask.png")


def save(grey, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(file)


def load(category):
    """Load one of scikit-image's originals as [512, 512] in [0,1]."""
    from skimage import data  # here, so that the rest can be used on other pictures without it

    return getattr(data, category)() / 255.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for a folder of each category")
    parser.add_argument("--category", choices=CATEGORIES, nargs="+", default=CATEGORIES)
    parser.add_argument("--train", type=int, default=600, help="good pictures to train on (600)")
    parser.add_argument("--test-good", type=int, default=150, help="good pictures to test with (150)")
    parser.add_argument("--per-kind", type=int, default=40, help="pictures of each kind of defect (40)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed writes the same pictures (1)")
    args = parser.parse_args()
    for category in args.category:
        folder = args.out / category
        if folder.exists() and any(folder.iterdir()):
            parser.error(f"--out: {folder}: not empty; a new or empty folder is needed")
        write(folder, load(category), args.seed, args.train, args.test_good, args.per_kind)
        print(f"written to {folder}")


if __name__ == "__main__":
    main()

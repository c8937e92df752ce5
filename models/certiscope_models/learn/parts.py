"""Which parts train, which choose, and which set the threshold.

Guarantees: the pictures of one part go to one side. `threshold` and `maps` hold one picture of each part, so that
`certiscope calibrate` counts them as they are. The same pictures and seed give the same sides. Too few parts are
refused, with the number that is needed.
Leaves out: what makes two pictures one part (`grouping`).
"""

import json
import shutil
from math import ceil

import numpy as np

from .. import Refused
from ..grouping import THUMBNAIL, fine_structure, groups_of, put
from ..preprocess import resize
from .work import write_whole

# Share of good parts that may be called anomalous: the first for which a quarter of the parts is enough.
RATES = (0.01, 0.02, 0.05, 0.1)
THRESHOLD_SHARE = 0.27
CHOOSE_SHARE, CHOOSE_LEAST, CHOOSE_MOST = 0.12, 6, 48
MAPS_LEAST, MAPS_MOST = 20, 240  # `calibrate` refuses fewer; more cost time and change nothing
LEAST = 40  # parts: 20 for the maps, which train too, 9 for a threshold at 0.1, 6 to choose with, and a few to spare


def needed(rate):
    """The least number of parts that a threshold at this rate of false alarms needs."""
    return ceil(1.0 / rate - 1e-9) - 1


def rate_of(parts):
    """(rate of false alarms, parts for the threshold) that so many parts allow."""
    for rate in RATES:
        if needed(rate) <= THRESHOLD_SHARE * parts:
            return rate, max(needed(rate), min(int(THRESHOLD_SHARE * parts), 2 * needed(rate)))
    return RATES[-1], needed(RATES[-1])


def groups_by_looks(small):
    """A group number for each of the small grey pictures [N, S, S]."""
    return groups_of(np.stack([fine_structure(resize(one[None], THUMBNAIL, THUMBNAIL)) for one in small]))


def sides_of(names, groups, seed):
    """({side: rows of {"file", "group"}}, rate of false alarms), for pictures called `names` in these groups."""
    number = max(groups) + 1
    if number < LEAST:
        cure = "collect pictures of more parts"
        if len(names) >= LEAST:
            cure += "; if they are different parts that look alike, say which is which with --part-from"
        raise Refused(
            f"learn.good: {len(names)} pictures of {number} different parts: too few; at least {LEAST} parts are "
            f"needed, {ceil(needed(0.02) / THRESHOLD_SHARE)} for 2 % false alarms and "
            f"{ceil(needed(0.01) / THRESHOLD_SHARE)} for 1 %; {cure}"
        )
    rate, threshold = rate_of(number)
    choose = min(max(round(CHOOSE_SHARE * number), CHOOSE_LEAST), CHOOSE_MOST)
    order = np.random.default_rng(seed).permutation(number).tolist()
    side = dict.fromkeys(order[:threshold], "threshold")
    side |= dict.fromkeys(order[threshold : threshold + choose], "choose")
    sides = {"fit": [], "choose": [], "threshold": [], "maps": []}
    once = set()
    for name, group in zip(names, groups):
        where = side.get(group, "fit")
        row = {"file": name, "group": int(group)}
        if where != "threshold" or group not in once:
            sides[where].append(row)
        if where == "fit" and group not in once and len(sides["maps"]) < MAPS_MOST:
            sides["maps"].append(row)
        once.add(group)
    return sides, rate


def place(source, out, sides, seed):
    """Put the pictures into out/SIDE, beside split.json, which counts them for the provenance. An old `out` goes."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    linked = put(source, out, sides)
    write_whole(out / "split.json", json.dumps({"seed": seed, "linked": linked, **sides}, indent=1) + "\n")

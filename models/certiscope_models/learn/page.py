"""The page at the end: one HTML file without anything outside of it, for the person who runs the line.

Guarantees: scores, verdicts, heat maps and times are those of `certiscope`; nothing is computed twice. Every text that
comes from a file name is escaped. No script, no address of another machine.
Leaves out: pictures of more than a few parts.
"""

import base64
import io
import json
import tomllib
from dataclasses import dataclass
from html import escape
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..decode import read_picture
from ..figures import auroc
from ..onnx_graph import denoiser, session
from ..preprocess import as_input, scaled
from ..score_numpy import Detector, draw, reconstruct
from . import parts
from .progress import in_words

NAME = "learned.html"
SHOWN_PX = 220  # width of a picture on the page
SHOWN_GOOD, SHOWN_SYNTHETIC, SHOWN_REAL = 6, 9, 3  # rows; real ones for each kind
ENOUGH_PARTS = 200
MISSED_MUCH = 0.2
BINS = 36
COLOURS = {"good": "#2b7a4b", "synthetic": "#d98a1f", "real": "#b3261e"}


def scores_of(bundle):
    """scores.json of a calibrated bundle: what each part of the threshold scored, the highest first."""
    return json.loads((bundle / "scores.json").read_text())


@dataclass
class Facts:
    """All that page and card tell, collected from the record of the work and the calibrated bundle."""

    name: str
    manifest: dict
    scores: dict
    look: dict
    counts: dict
    plan: dict
    training: dict
    best: dict
    others: list
    doubts: list
    rows: list
    left_out_odd: bool
    real_count: int
    bundle: Path
    heat_maps: Path
    threshold_folder: Path
    full_scale: int | None
    page: str = NAME

    @classmethod
    def of(cls, run, bundle):
        chosen = run.done("choose")
        return cls(
            name=run.name,
            manifest=tomllib.loads((bundle / "bundle.toml").read_text()),
            scores=scores_of(bundle),
            look=run.done("look"),
            counts=run.done("sort"),
            plan=run.done("plan"),
            training=run.done("training"),
            best=chosen["best"],
            others=chosen["others"],
            doubts=run.done("calibrate")["doubts"],
            rows=run.done("report")["rows"],
            left_out_odd=run.asked.leave_out_odd,
            real_count=len(run.defects),
            bundle=bundle,
            heat_maps=run.place("heat-maps"),
            threshold_folder=run.side("threshold"),
            full_scale=run.asked.full_scale,
        )

    def good_scores(self):
        return [part["score"] for part in self.scores["parts"] if part["score"] is not None]

    def of_kind(self, kind):
        return [row for row in self.rows if row["kind"] == kind]

    def scores_of_kind(self, kind):
        return [row["score"] for row in self.of_kind(kind) if row["score"] is not None]

    def real_kinds(self):
        return sorted({row["kind"] for row in self.rows if row["kind"].startswith("real: ")})

    @property
    def threshold(self):
        return self.manifest["calibration"]["threshold"]

    @property
    def odd_words(self):
        done = "left out" if self.left_out_odd else "learned as good"
        names = ", ".join(f"{name} ({why})" for name, why in self.look["odd"].items())
        return f"Odd pictures among the good, {done}: {names}"

    def verdicts(self, kind):
        """(anomalous, abstain, normal, all) of a kind that was inspected."""
        found = [row["verdict"] for row in self.of_kind(kind)]
        return *(found.count(word) for word in ("anomalous", "abstain", "normal")), len(found)

    def auroc_of(self, kind):
        good, bad = self.good_scores(), self.scores_of_kind(kind)
        if not good or not bad:
            return None
        return auroc(torch.tensor(good, dtype=torch.float64), torch.tensor(bad, dtype=torch.float64))

    def milliseconds(self):
        """(median, 90th percentile) of the time that a good part took here; None where none was inspected."""
        times = [row["infer_ms"] for row in self.of_kind("good") if row["infer_ms"] is not None]
        return (float(np.median(times)), float(np.quantile(times, 0.9))) if times else None

    def figures(self):
        """(name, value) of everything that was measured, for page and card."""
        calibration = self.manifest["calibration"]
        found = [
            ("threshold", f"{self.threshold:.3f}, from {calibration['threshold_groups']} parts"),
            ("good parts called anomalous, at most", f"{calibration['false_alarm_rate']:.0%} of new ones"),
            ("certified radius of a good part", f"{calibration['radius']:.4f} at the model input"),
        ]
        for kind in ("synthetic", *self.real_kinds()):
            anomalous, abstain, normal, count = self.verdicts(kind)
            value = self.auroc_of(kind)
            words = f"{kind} defects" if kind == "synthetic" else kind.replace("real: ", "real defects, ")
            if value is not None:
                number = len(self.scores_of_kind(kind))
                found.append((f"{words}: AUROC", f"{value:.3f} ({number} picture{'s' if number > 1 else ''})"))
            if count:
                found.append((f"{words}: anomalous, abstain, normal", f"{anomalous}, {abstain}, {normal}"))
        took = self.milliseconds()
        if took:
            found.append(("time for a good part on this machine", f"{took[0]:.0f} ms (90 %: below {took[1]:.0f} ms)"))
        size = sum(file.stat().st_size for file in self.bundle.iterdir() if file.name not in (NAME, "README.md"))
        found.append(("size of the bundle", f"{size / 2**20:.1f} MiB"))
        return found

    def advice(self):
        """What to collect or to do next, the most useful first."""
        found, look, calibration = [], self.look, self.manifest["calibration"]
        if self.doubts:
            found.append("Do not use this bundle before the doubts above are cleared.")
        highest = [part["picture"] for part in self.scores["parts"][:4]]
        found.append(
            f"Look at the good parts that score highest: {', '.join(highest)}. If one has a defect, take it out of the "
            "folder and learn again: it makes the threshold too high."
        )
        if look["odd"]:
            found.append(f"{self.odd_words}. Take pictures out that do not show the part as the line will show it.")
        for rate in [rate for rate in parts.RATES if rate < calibration["false_alarm_rate"]][-1:]:
            wanted = ceil(parts.needed(rate) / parts.THRESHOLD_SHARE)
            found.append(
                f"The threshold allows {calibration['false_alarm_rate']:.0%} false alarms, because {look['parts']} "
                f"parts allow no less. For {rate:.0%} collect {wanted - look['parts']} more different parts ({wanted} "
                "in all)."
            )
        if look["parts"] < ENOUGH_PARTS:
            found.append(
                f"{look['parts']} parts are few: with {ENOUGH_PARTS} or more, of several days and lots, the model "
                "knows better what good parts look like."
            )
        anomalous, _, normal, count = self.verdicts("synthetic")
        if count and normal > MISSED_MUCH * count:
            found.append(
                f"{normal} of {count} synthetic defects pass as normal. Look at them below: if such a defect matters, "
                "learn with a larger --budget, or take pictures from nearer."
            )
        if not self.real_count:
            found.append("Collect pictures of real defects, one folder for each kind, and give them with --defects.")
        return found


# ---- pictures


def as_data(image, px=SHOWN_PX):
    """An image as the address of an <img>, `px` wide."""
    image = image.convert("RGB")
    image = image.resize((px, max(1, round(image.height * px / image.width))), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def image_of(chw):
    """A picture [C, H, W] in [0,1] as an image."""
    pixels = np.round(np.clip(chw, 0.0, 1.0) * 255.0).astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


class Repairer:
    """Shows what the model makes of one noisy copy of a picture."""

    def __init__(self, facts):
        self.manifest, self.full_scale = facts.manifest, facts.full_scale
        self.denoise = denoiser(session((facts.bundle / self.manifest["model"]["file"]).read_bytes()))
        self.shape = tuple(self.manifest["input"][name] for name in ("channels", "height", "width"))
        self.detector = Detector(self.manifest["detector"]["k"], self.manifest["detector"]["sigma"])

    def __call__(self, file):
        """(picture, repaired copy) as images; the copy has the shape of the picture."""
        picture = scaled(read_picture(file), self.full_scale)
        x = as_input(picture, *self.shape)[None]
        noise, inner = np.random.default_rng(0).standard_normal((2, *x.shape), dtype=np.float32)
        repaired = reconstruct(self.denoise, draw(x, noise, self.detector.sigma), inner, self.detector)[0]
        height, width = picture.shape[1:]
        return image_of(picture), image_of(repaired[0]).resize((width, height), Image.Resampling.BILINEAR)


# ---- the parts of the page


def histogram(facts):
    """Scores of good parts, synthetic and real defects, and the threshold, as SVG.

    The axis is even below the threshold, and logarithmic far above it: single defects score a hundred times as much.
    """
    series = {"good": facts.good_scores(), "synthetic": facts.scores_of_kind("synthetic")}
    series["real"] = [value for kind in facts.real_kinds() for value in facts.scores_of_kind(kind)]
    series = {name: values for name, values in series.items() if values}
    unit = max(abs(facts.threshold), 1e-6)
    series = {name: np.arcsinh(np.array(values) / unit) for name, values in series.items()}
    every = np.concatenate(list(series.values()))
    limit = float(np.arcsinh(facts.threshold / unit))
    low, high = min(float(every.min()), 0.0), max(float(every.max()), 1.5 * limit, 1e-6)
    width, height, foot = 760, 210, 34
    scale = (width - 20) / (high - low)
    edges = np.linspace(low, high, BINS + 1)
    tallest, drawn = 0.0, []
    shares = {}
    for name, values in series.items():
        counted = np.histogram(np.clip(values, low, high), edges)[0] / len(values)
        shares[name] = counted
        tallest = max(tallest, counted.max())
    for name, counted in shares.items():
        bars = []
        for edge, share in zip(edges, counted):
            if share:
                tall = share / tallest * (height - foot - 24)
                bars.append(
                    f'<rect x="{10 + (edge - low) * scale:.1f}" y="{height - foot - tall:.1f}" '
                    f'width="{(edges[1] - edges[0]) * scale - 1:.1f}" height="{tall:.1f}"/>'
                )
        drawn.append(f'<g fill="{COLOURS[name]}" fill-opacity="0.6">{"".join(bars)}</g>')
    at = 10 + (limit - low) * scale
    ticks = "".join(
        f'<text x="{10 + (place - low) * scale:.1f}" y="{height - foot + 16}" text-anchor="middle">'
        f"{np.sinh(place) * unit:.3g}</text>"
        for place in np.linspace(low, high, 9)[:-1]
    )
    names = {"good": "good parts", "synthetic": "synthetic defects", "real": "real defects"}
    legend = "".join(
        f'<rect x="{10 + 190 * n}" y="{height - 12}" width="12" height="12" fill="{COLOURS[name]}" fill-opacity="0.6"/>'
        f'<text x="{27 + 190 * n}" y="{height - 2}">{names[name]} ({len(values)})</text>'
        for n, (name, values) in enumerate(series.items())
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="histogram of the scores">{"".join(drawn)}'
        f'<line x1="10" x2="{width - 10}" y1="{height - foot}" y2="{height - foot}" stroke="#888"/>'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="8" y2="{height - foot}" stroke="#111" stroke-dasharray="5 3"/>'
        f'<text x="{at + 6:.1f}" y="16">threshold {facts.threshold:.2f}: higher is anomalous</text>'
        f"{ticks}{legend}</svg>"
    )


def shown_rows(facts):
    """The inspected pictures that the page shows: (heading, rows)."""

    def by_score(rows):
        return sorted(rows, key=lambda row: -(row["score"] if row["score"] is not None else float("inf")))

    def spread(rows, count):
        rows = by_score(rows)
        return [rows[n] for n in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]

    found = [("Good parts, the highest scores first", by_score(facts.of_kind("good"))[:SHOWN_GOOD])]
    for kind in facts.real_kinds():
        found.append((kind.replace("real: ", "Real defects: "), spread(facts.of_kind(kind), SHOWN_REAL)))
    found.append(
        (
            "The same good parts with synthetic defects, from high to low scores",
            spread(facts.of_kind("synthetic"), SHOWN_SYNTHETIC),
        )
    )
    return [(heading, rows) for heading, rows in found if rows]


def sample(facts, repairer, row):
    """One inspected picture: the station's heat map beside the repaired copy, with verdict and score."""
    picture, repaired = repairer(row["file"])
    shown = (
        as_data(Image.open(facts.heat_maps / row["heat_map"]), 2 * SHOWN_PX) if row["heat_map"] else as_data(picture)
    )
    words = row["verdict"] + (f" ({row['reason']})" if row["reason"] else "")
    score = f"{row['score']:.2f}" if row["score"] is not None else "none"
    good = row["kind"] == "good"
    right = row["verdict"] == ("normal" if good else "anomalous")
    return (
        f'<figure class="{"right" if right else "wrong"}"><div class="pair">'
        f'<img src="{shown}" alt="picture and heat map">'
        f'<img src="{as_data(repaired)}" alt="repaired copy"></div><figcaption><b>{escape(words)}</b>, score {score}, '
        f"{row['draws'] or 0} draws<br><small>{escape(Path(row['file']).name)}</small></figcaption></figure>"
    )


def table(rows, head=()):
    top = f"<tr>{''.join(f'<th>{escape(str(cell))}</th>' for cell in head)}</tr>" if head else ""
    return f"<table>{top}{''.join(cells(row) for row in rows)}</table>"


def cells(row):
    return f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>"


def search_rows(facts, count=8):
    for row in [facts.best, *facts.others][:count]:
        d = row["detector"]
        kinds = ", ".join(f"{name.replace('real: ', '')} {value:.3f}" for name, value in row["auroc"].items())
        apart = ", ".join(f"{value:.2f}" for value in row["apart"].values())
        yield d["k"], d["head_weight"], d["feature_weight"], d["filter_px"], d["top_pixels"], kinds, apart


def settings_rows(facts):
    look, plan = facts.look, facts.plan
    recipe, shape = plan["recipe"], facts.manifest["input"]
    line = ", ".join(f"{name} {value}" for name, value in recipe["line"].items() if value) or "none"
    yield "pictures", f"{look['pictures']} of {look['parts']} parts, {look['size'][0]}x{look['size'][1]} px"
    yield (
        "sides",
        f"{facts.counts['fit']} pictures to train on, {facts.counts['choose']} to choose with, "
        f"{facts.counts['threshold']} for the threshold",
    )
    yield "model input", f"{shape['width']}x{shape['height']} px, {'colour' if shape['channels'] == 3 else 'grey'}"
    yield "how good parts differ", f"{line} ({look['jitter_why']})"
    yield "noise", f"sigma {plan['sigma']}, so that {plan['radius']:.4f} can be certified"
    yield "training", f"{facts.training['steps']} steps of {recipe['batch']}, {in_words(facts.training['seconds'])}"
    yield "machine", plan["machine"]
    yield "command", facts.manifest["provenance"]["learned_with"]


def cost(facts):
    took = facts.milliseconds()
    if not took:
        return "<p>No good part could be inspected, so no time was measured.</p>"
    draws = [row["draws"] for row in facts.of_kind("good") if row["draws"]]
    middle = f"{np.median(draws):.0f}" if draws else "?"
    return (
        f"<p><b>{took[0]:.0f} ms</b> for a good part on this machine (nine in ten below {took[1]:.0f} ms), with "
        f"{middle} noisy copies each: at most {60000 / took[0]:.0f} parts a minute. Other work here makes it slower. "
        "A smaller <code>target_radius</code> in station.toml needs fewer copies.</p>"
    )


STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{margin-bottom:.2rem}h2{margin-top:2.2rem;border-bottom:1px solid #ddd}
.big{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.big div{background:#f3f5f4;border-radius:8px;padding:.7rem 1.1rem}
.big b{display:block;font-size:1.5rem}
svg{width:100%;max-width:820px;font-size:12px}
table{border-collapse:collapse;margin:.6rem 0}td,th{border:1px solid #ddd;padding:.25rem .6rem;text-align:left}
.samples{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0;padding:.5rem;border:1px solid #ddd;border-top:4px solid #2b7a4b;border-radius:6px;max-width:100%}
figure.wrong{border-top-color:#b3261e}.pair{display:flex;gap:4px}
.pair{overflow-x:auto}.pair img{height:140px;width:auto}
figcaption{font-size:.9rem}li{margin:.4rem 0}
.doubt{background:#fdecea;border-left:4px solid #b3261e;padding:.6rem 1rem}
"""


def html(facts):
    """The page."""
    repairer = Repairer(facts)
    synthetic = facts.auroc_of("synthetic")
    anomalous, _, _, count = facts.verdicts("synthetic")
    took = facts.milliseconds()
    big = [("parts learned from", f"{facts.look['parts']}")]
    big += [("synthetic defects: AUROC", f"{synthetic:.3f}")] if synthetic is not None else []
    big += [("of them called anomalous", f"{anomalous} of {count}")] if count else []
    big += [("false alarms, at most", f"{facts.manifest['calibration']['false_alarm_rate']:.0%}")]
    big += [("a good part takes", f"{took[0]:.0f} ms")] if took else []
    samples = "".join(
        f'<h3>{escape(heading)}</h3><div class="samples">{"".join(sample(facts, repairer, row) for row in rows)}</div>'
        for heading, rows in shown_rows(facts)
    )
    doubts = "".join(f'<p class="doubt">{escape(doubt)}</p>' for doubt in facts.doubts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(facts.name)}: what was learned</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>{escape(facts.name)}</h1>
<p>What <code>certiscope-models learn</code> made of the pictures of good parts.
All figures are of parts that it was neither trained on nor chosen with.</p>
{doubts}
<div class="big">{"".join(f"<div>{escape(name)}<b>{escape(value)}</b></div>" for name, value in big)}</div>
<h2>What to do next</h2>
<ol>{"".join(f"<li>{escape(text)}</li>" for text in facts.advice())}</ol>
<h2>Scores</h2>
{histogram(facts)}
{table(facts.figures())}
<h2>What a station will cost</h2>
{cost(facts)}
<h2>Samples</h2>
<p>Left the picture and the same under its heat map (red: at the threshold or above), right what the model makes of one
noisy copy: it should look like a good part. A red bar: the verdict is not what it should be.</p>
{samples}
<h2>How it was made</h2>
{table(settings_rows(facts))}
<h3>The search</h3>
<p>The best of {1 + len(facts.others)} detectors on held-back parts. Apart: share of pairs of a defect and a good
part that are told apart whatever the noise.</p>
{table(search_rows(facts), ("k", "head weight", "feature weight", "filter px", "top pixels", "AUROC", "apart"))}
</body></html>
"""

"""A table of experiments: train each run, measure each row, and write the figures as in the tables of ABLATION.md.

The table is a TOML file (models/ablation/). [train] has the options that all runs share, [run.NAME] those of one run,
[measure] those that all rows share. Each [[row]] names a run and how it is scored. The options have the names that they
have in `train` and `export`.
Guarantees: training and choice see normal pictures and synthetic defects only; the pictures of `test` are only scored.
All rows of a table use the same seed. A finished run is used again, an interrupted one continues.
Leaves out: near-duplicates in the intervals (pictures are drawn, not parts), and the empirical score; `certiscope
evaluate` has both.
Costs: the training; then, for each row, `draws` model calls for each picture of `held-back` (three times) and `test`.
"""

import argparse
import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import Refused, measure, schedule, train_options
from .figures import Estimate, auroc_with_interval, certified_auc_with_interval, has_bounds, paper_radius
from .output import say_once
from .picture_files import is_picture, picture_files
from .picture_set import PictureSet
from .score import Detector
from .search import with_synthetic_defects
from .train import train
from .training import Training
from .training_data import Pictures, aspect_of

GOOD = ("good", "ok")  # names of the folder of good parts below `test`, in any case of letters
SEED = 0  # of the draws and of the synthetic defects that rows are measured with


@dataclass(frozen=True)
class Row:
    """How one line of the table is scored."""

    name: str
    run: str
    k: int
    sigma: float
    filter_px: int = 5
    top_pixels: int = 1
    head_weight: float = 0.0
    training_maps: bool = True
    draws: int = 64
    alpha: float = 1e-3

    def detector(self):
        """The detector that scores the row; refuses settings that no detector can have."""
        return Detector(self.k, self.sigma, self.filter_px, top_pixels=self.top_pixels, head_weight=self.head_weight)


@dataclass(frozen=True)
class Table:
    """The runs by name, each with the run that it begins with and the words of its `train` command; and the rows."""

    runs: dict
    rows: tuple


def words(options):
    """Options of a TOML table as words of a command line."""
    found = []
    for name, value in options.items():
        if value is False:
            continue
        found.append(f"--{name}")
        if value is not True:
            found.append(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return found


def row_of(options, path):
    """One row; a wrong or missing key is refused by name."""
    named = {key.replace("-", "_"): value for key, value in options.items()}
    known = Row.__dataclass_fields__
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise Refused(
            f"ablation: {path}: row {options.get('name')!r}: {unknown[0]}: unknown; allowed: {', '.join(known)}"
        )
    if "k" in named:
        named.setdefault("sigma", float(schedule.sigma_k(named["k"])))
    lacking = [key for key in ("name", "run", "k") if key not in named]
    if lacking:
        raise Refused(
            f"ablation: {path}: row {options.get('name')!r}: {lacking[0]}: missing; name, run and k are needed"
        )
    return Row(**named)


def read(path):
    """The table in the TOML file at `path`."""
    try:
        table = tomllib.loads(Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Refused(
            f"ablation: {path}: cannot be read: {error}; a TOML file such as models/ablation/levers.toml is needed"
        ) from None
    runs = {}
    for name, own in table.get("run", {}).items():
        options = {**table.get("train", {}), **own}
        runs[name] = options.pop("begin-with", None), words(options)
    rows = tuple(row_of({**table.get("measure", {}), **row}, path) for row in table.get("row", []))
    if not rows:
        raise Refused(f"ablation: {path}: no [[row]] in it; at least one is needed")
    needed = {row.run for row in rows} | {begin for begin, _ in runs.values() if begin}
    for name in sorted(needed - set(runs)):
        raise Refused(f"ablation: {path}: run {name!r}: not defined; a table [run.{name}] is needed")
    for row in rows:
        if row.head_weight > 0.0 and "--no-head" in runs[row.run][1]:
            raise Refused(
                f"ablation: {path}: row {row.name!r}: head-weight = {row.head_weight}: its run has no head; use 0"
            )
        row.detector()  # refuses a sigma or a pooling that no detector can have
    for _, options in runs.values():
        settings_of(options)
    return Table(runs, rows)


class Words(argparse.ArgumentParser):
    """A parser for the words of a run. It raises Refused where argparse would end the program."""

    def error(self, message):
        raise Refused(f"ablation: {message}; the options of `train`, see `train --help`")


def settings_of(words, steps=None, aspect=1.0):
    """Return (architecture, recipe) of a run from its words, for pictures `aspect` times as wide as high.

    `steps`, if given, replaces the number in the table.
    """
    parser = Words(add_help=False, allow_abbrev=False)
    train_options.add(parser)
    architecture, recipe = train_options.settings(parser.parse_args(words), aspect)
    return architecture, replace(recipe, steps=steps or recipe.steps)


def trained(table, name, fit, held_back, out, steps=None, device="cpu"):
    """Return the finished run `name`; train it first, or continue it, if needed."""
    begin, options = table.runs[name]
    architecture, recipe = settings_of(options, steps, aspect_of(fit))
    folder = Path(out) / name
    checkpoint = folder / "checkpoint.pt"
    if begin:
        trained(table, begin, fit, held_back, out, steps, device)
    if checkpoint.exists():
        found = Training.load(checkpoint, device)
        if found.recipe != recipe or (found.architecture != architecture and not begin):
            raise Refused(f"ablation.out = {folder}: holds a run with other settings; give a new folder")
        if found.done == recipe.steps:
            return found
    return train(
        fit,
        held_back,
        folder,
        architecture,
        recipe,
        checkpoint.exists(),
        Path(out) / begin if begin else None,
        device=device,
    )


def kinds_of(test):
    """{kind: files} below the folder `test`, "good" for the good parts. Masks and hidden folders are no kind."""
    found = {}
    entries = sorted(Path(test).iterdir()) if Path(test).is_dir() else []
    for folder in entries:
        if not folder.is_dir() or folder.name == "ground_truth" or folder.name.startswith("."):
            continue
        kind = "good" if folder.name.lower() in GOOD else folder.name
        if kind in found:
            raise Refused(f"ablation.test = {test}: {folder.name}/ holds good parts too; one folder of them is needed")
        found[kind] = picture_files(folder)
    beside = sum(is_picture(path) for path in entries)
    if beside:
        say_once(f"{test}: {beside} pictures left out, because they lie in no folder of a kind")
    if "good" not in found or len(found) < 2:
        raise Refused(f"ablation.test = {test}: holds no good/ beside a folder of defective parts; both are needed")
    return found


def measured(row, training, fit, held_back, kinds):
    """The figures of one row. `fit` and `held_back` are model inputs, `kinds` those of the test pictures by kind."""
    detector, model = row.detector(), training.ema_model()
    generator = torch.Generator(training.device).manual_seed(SEED)
    changed = with_synthetic_defects(held_back, generator)
    made = {}
    if row.training_maps:
        made = measure.training_maps(model, fit[: (len(fit) + 1) // 2], detector, [row.filter_px], generator)

    def scores(x):
        return measure.scores(model, x, [detector], made, row.draws, generator)[0]

    multiple = paper_radius(held_back[0].numel()) / row.sigma
    judge = {
        "AUROC": auroc_with_interval,
        "certified AUC": lambda *pair: certified_auc_with_interval(*pair, multiple, row.alpha),
    }
    behind = scores(held_back), scores(changed)
    of_kinds = {kind: scores(x) for kind, x in kinds.items()}
    good = of_kinds.pop("good")
    bad = torch.cat(list(of_kinds.values()))
    return {
        "row": row.name,
        "run": row.run,
        "steps": training.done,
        "radius": multiple * row.sigma,
        "held back": {name: figure(*behind) for name, figure in judge.items()},
        "test": {name: figure(good, bad) for name, figure in judge.items()},
        "kinds": {kind: auroc_with_interval(good, scored) for kind, scored in of_kinds.items()},
    }


def run_rows(table, rows, fit, held_back, test, out, steps=None, device="cpu"):
    """Train and measure `rows` of the table one by one; yields (row, what was found) as each is ready."""
    files = kinds_of(test)
    for row in rows:
        training = trained(table, row.run, fit, held_back, out, steps, device)
        architecture = training.architecture

        read = PictureSet(training.recipe.full_scale, training.recipe.mixed_sizes, training.pictures)

        def inputs(chosen, architecture=architecture, read=read):
            loaded = read.inputs(chosen, architecture.channels, architecture.height, architecture.width)
            return torch.from_numpy(loaded).to(device)

        of_fit = Pictures(None, architecture, Path(out) / row.run / "fit.npy", device, read).inputs
        kinds = {kind: inputs(chosen) for kind, chosen in files.items()}
        behind = inputs(picture_files(held_back))
        read.require_one_kind()
        yield row, measured(row, training, of_fit, behind, kinds)


HEADER = (
    "| row | w, px, top | n, alpha | AUROC | certified AUC | held back, synthetic defects: AUROC, certified AUC | "
    "by kind |\n"
    "|---|---|---|---|---|---|---|"
)


def words_of(estimate):
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def line(row, found):
    """The Markdown line of one row. A certified AUC that so few draws cannot give is no 0: it is named."""
    bounded = has_bounds(row.draws, found["radius"] / row.sigma, row.alpha)
    behind = ", ".join(f"{estimate.value:.3f}" for estimate in found["held back"].values())
    kinds = ", ".join(f"{kind} {words_of(estimate)}" for kind, estimate in found["kinds"].items())
    without = "" if row.training_maps else ", without training maps"
    cells = [
        f"{row.name}: run {row.run}, {found['steps']} steps, k = {row.k}{without}",
        f"{row.head_weight:g}, {row.filter_px}, {row.top_pixels}",
        f"{row.draws}, {row.alpha:g}",
        words_of(found["test"]["AUROC"]),
        f"{words_of(found['test']['certified AUC']) if bounded else 'too few draws'} at r = {found['radius']:.4f}",
        behind,
        kinds,
    ]
    return f"| {' | '.join(cells)} |"


def as_json(found):
    """The figures of one row as one line of JSON."""
    return json.dumps(found, default=lambda value: vars(value) if isinstance(value, Estimate) else str(value))

"""All stages of `learn`, in order. Each is a function of the run that returns what `state.json` keeps of it.

Guarantees: a stage that is recorded is not done again; one that was broken off begins anew, or goes on from what it
kept (training: the last checkpoint; search: the last timestep). The bundle's folder is moved into place when all is
done.
Leaves out: everything that a stage does inside.
"""

import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .. import Refused, bundle
from ..augment import Line
from ..grouping import groups_by_name
from ..output import say_once, show
from ..picture_files import picture_files
from ..picture_set import PictureSet
from ..preprocess import as_input, decode, to_channels
from ..recipe import Recipe
from ..train import train
from ..training import Training
from ..training_data import Pictures
from ..unet import Architecture
from . import bank, budget, card, choices, choose, jitter, look, page, parts, report, station, work
from .pasted import Pasted
from .progress import Progress, in_words

SIDES = ("fit", "choose", "threshold", "maps")
OWN = "learned.html", "README.md"  # what `learn` adds to the files of a calibrated bundle
LISTED = 20
EVERY = 100  # steps between two checkpoints


@dataclass(frozen=True)
class Asked:
    """What the person asked for. The first ones decide the bundle, and may not change when the work goes on."""

    good: Path
    out: Path
    defects: Path | None = None
    budget: str = "standard"
    radius: float | None = None
    part_from: str | None = None
    leave_out_odd: bool = False
    full_scale: int | None = None
    mixed_sizes: bool = False
    seed: int = 1
    steps: int | None = None  # for tests: the length of the training, whatever the budget
    certiscope: str | None = None
    device: str = "auto"
    threads: int | None = None

    def that_decide(self):
        names = ("budget", "radius", "part_from", "leave_out_odd", "full_scale", "mixed_sizes", "seed", "steps")
        return {name.replace("_", "-"): getattr(self, name) for name in names}

    def command(self):
        """The command without its folders, for the card."""
        words = ["certiscope-models learn", f"--budget {self.budget}", f"--seed {self.seed}"]
        words += [f"--radius {self.radius}"] if self.radius is not None else []
        words += [f"--part-from '{self.part_from}'"] if self.part_from else []
        words += [f"--full-scale {self.full_scale}"] if self.full_scale is not None else []
        words += [f"--steps {self.steps}"] if self.steps is not None else []
        switches = {"--mixed-sizes": self.mixed_sizes, "--leave-out-odd": self.leave_out_odd}
        words += [name for name, on in switches.items() if on]
        return " ".join([*words, *(["--defects DEFECTS"] if self.defects else []), "--good GOOD --out BUNDLE"])


class Run:
    """One `learn`: what was asked, its work folder, and what its stages found."""

    def __init__(self, asked):
        self.asked = asked
        self.program = station.find(asked.certiscope)
        self.device = device_of(asked.device)
        torch.set_num_threads(asked.threads or os.cpu_count() or 1)
        out, good = asked.out.resolve(), asked.good.resolve()
        for name, folder in (("good", good), ("defects", asked.defects and asked.defects.resolve())):
            if folder and out.is_relative_to(folder):
                raise Refused(f"learn.out = {asked.out}: within {folder}, the {name} pictures; give a folder beside it")
        if not out.parent.is_dir():
            raise Refused(f"learn.out = {asked.out}: {out.parent} is no folder; give a place that is there")
        self.files = picture_files(asked.good)
        self.defects, self.masks, self.kinds = [], {}, {}
        if asked.defects:
            self.defects, self.masks = look.masks_of(asked.defects)
            self.kinds = look.kinds_of(asked.defects, self.defects)
        pictures = {
            "good": work.digests(asked.good, self.files),
            "defects": work.digests(asked.defects, self.defects) if asked.defects else {},
            "masks": work.digests(asked.defects, self.masks.values()) if asked.defects else {},
        }
        look.refuse_overlap(pictures["good"], pictures["defects"])
        folder = work.folder_of(out)
        self.work = work.Work(folder, asked.that_decide(), pictures)
        self.folder, self.out, self.name = folder, out, out.name
        self.source = asked.good

    def place(self, name):
        return self.folder / name

    def side(self, name):
        return self.folder / "pictures" / name

    def done(self, stage):
        return self.work.done[stage]

    def read(self, trained_on=None):
        return PictureSet(self.asked.full_scale, self.asked.mixed_sizes, trained_on)

    @property
    def architecture(self):
        return Architecture(**self.done("plan")["architecture"])

    @property
    def recipe(self):
        found = self.done("plan")["recipe"]
        return Recipe(**{**found, "line": Line(**found["line"]), "weights": Recipe(1).weights})


def device_of(asked):
    """The device to compute on: `auto` is a GPU where there is one."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise Refused(f"learn.device = {asked}: this machine has no GPU that PyTorch can use; cpu or auto is allowed")
    return asked


# ---- the stages


def look_at_pictures(run):
    """Every picture is read and compared with the others."""
    read = run.read()
    seen = look.look(run.files, read, run.progress.steps)
    facts = read.kind()
    if run.defects:
        real = run.read(facts)
        look.look(run.defects, real)
        look.refuse_masks(run.masks, real)
    odd = {os.path.relpath(file, run.source): why for file, why in look.odd(seen).items()}
    kept = [n for n, file in enumerate(seen.files) if not run.asked.leave_out_odd or name_of(run, file) not in odd]
    names = [name_of(run, seen.files[n]) for n in kept]
    if run.asked.part_from:
        groups = groups_by_name([Path(name).as_posix() for name in names], run.asked.part_from)
    else:
        groups = parts.groups_by_looks(seen.small[kept])
    sides, rate = parts.sides_of(names, groups, run.asked.seed)
    # A radius out of reach is refused here, before anything is kept.
    channels = 3 if seen.coloured else 1
    sizes = sorted((f.width, f.height) for f in read.facts.values())
    size = sizes[len(sizes) // 2]
    for architecture in choices.architectures_of(*size, channels, run.asked.budget):
        choices.sigma_of(choices.radius_of(run.asked.radius, choices.input_shape(architecture)))
    how, why = jitter.estimate(seen.small[kept])
    return {
        "pictures": len(run.files),
        "parts": len(set(groups)),
        "odd": odd,
        "facts": facts,
        "size": size,
        "channels": channels,
        "rate": rate,
        "sides": sides,
        "jitter": how,
        "jitter_why": why,
    }


def name_of(run, file):
    return os.path.relpath(file, run.source)


def sort_pictures(run):
    """The pictures by side, as links, below the work folder."""
    parts.place(run.source.resolve(), run.folder / "pictures", run.done("look")["sides"], run.asked.seed)
    return {side: len(run.done("look")["sides"][side]) for side in SIDES}


def plan(run):
    """Network, jitter, noise, timesteps and steps: the largest input that this machine learns in the time there is."""
    found = run.done("look")
    networks = choices.architectures_of(*found["size"], found["channels"], run.asked.budget)
    for architecture in networks:
        planned = plan_of(run, architecture)
        if planned["recipe"]["steps"] >= budget.ENOUGH_STEPS[run.asked.budget] or run.asked.steps:
            break
    return planned


def plan_of(run, architecture):
    """The plan for one network; a few steps of training are measured for it."""
    asked, found = run.asked, run.done("look")
    shape = choices.input_shape(architecture)
    radius = choices.radius_of(asked.radius, shape)
    sigma = choices.sigma_of(radius)
    timesteps = choices.timesteps_of(sigma)
    recipe = Recipe(
        steps=1,
        batch=budget.BATCH_ON_GPU if run.device != "cpu" else budget.BATCH,
        lr=budget.LEARNING_RATE[asked.budget],
        k_max=choices.k_max_of(timesteps),
        seed=asked.seed,
        line=jitter.line_of(found["jitter"], min(shape[1:])),
        full_scale=asked.full_scale,
        mixed_sizes=asked.mixed_sizes,
    )
    pictures = Pictures(run.side("fit"), architecture, None, run.device, run.read())
    speed = budget.measure(architecture, recipe, pictures, run.device)
    counts = {**run.done("sort"), "defects": sum(len(chosen_with(files)) for files in run.kinds.values())}
    draws = budget.SEARCH_DRAWS[asked.budget]
    reported = (
        report.SYNTHETIC + report.HIGHEST + report.USUAL + sum(len(reported_on(files)) for files in run.kinds.values())
    )
    others = budget.seconds_of_stages(speed, counts, choices.DRAWS, timesteps, draws, reported)
    steps, seconds = budget.steps_of(asked.budget, speed, others, EVERY, asked.steps)
    kept = asdict(replace(recipe, steps=steps))
    kept.pop("weights")  # the defaults
    return {
        "architecture": asdict(architecture),
        "recipe": kept,
        "radius": radius,
        "sigma": sigma,
        "timesteps": timesteps,
        "search_draws": draws,
        "every": min(EVERY, max(1, steps // 3)),
        "seconds": {"training": seconds, **others},
        "speed": asdict(speed),
        "machine": f"{os.cpu_count()} cores" if run.device == "cpu" else torch.cuda.get_device_name(),
    }


def training(run):
    """The network is trained. It goes on from its last checkpoint."""
    made = run.place("run")
    begun = (made / "checkpoint.pt").exists()
    if not begun:
        shutil.rmtree(made, ignore_errors=True)
    trained = train(
        run.side("fit"),
        run.side("choose"),
        made,
        run.architecture,
        run.recipe,
        resume=begun,
        every=run.done("plan")["every"],
        device=run.device,
        progress=run.progress.steps,
        pasted=real_defects(run),
    )
    return {"steps": trained.done, "seconds": trained.seconds, "counts": trained.counts}


def trained(run):
    return Training.load(run.place("run") / "checkpoint.pt", run.device)


def taught(files):
    """Of the pictures of one kind of real defect every second one teaches, the first included. Of the others half are
    chosen with and half are reported on."""
    return files[::2]


def chosen_with(files):
    return files[1::4]


def reported_on(files):
    return files[3::4]


def real_defects(run):
    """The real defects that teach: those with a mask. None without any."""
    files = [file for of_kind in run.kinds.values() for file in taught(of_kind) if file in run.masks]
    if not files:
        return None
    shape = choices.input_shape(run.architecture)
    read = run.read()
    defects = read.inputs(files, *shape)
    masks = [as_input(to_channels(decode(run.masks[file]), 1), 1, *shape[1:]) for file in files]
    return Pasted(*(torch.from_numpy(one).to(run.device) for one in (defects, np.stack(masks))))


def model_at(run, training, fit):
    """The model of each timestep, as a function of it."""
    of_run = training.architecture, fit, run.place("banks"), run.asked.seed
    return lambda k: bank.with_bank(training.ema_model(), of_run[0], of_run[1], k, *of_run[2:])


def fitted(run, training):
    """The model inputs that were trained on."""
    read = run.read(training.pictures)
    return Pictures(None, training.architecture, run.place("run") / "fit.npy", run.device, read).inputs


def choosing(run):
    """Timestep, pooling and weights are chosen on held-back parts."""
    planned, training = run.done("plan"), trained(run)
    read = run.read(training.pictures)
    fit = fitted(run, training)
    good = Pictures(run.side("choose"), training.architecture, device=run.device, into=read).inputs
    shape = choices.input_shape(training.architecture)
    real = {}
    for kind, files in run.kinds.items():
        inputs = read.inputs(chosen_with(files), *shape)
        real[f"real: {kind}"] = torch.from_numpy(inputs).to(run.device)
    read.require_one_kind()
    features = bank.has_features(training.architecture)
    levels = [choices.detectors(k, planned["sigma"], shape, features) for k in planned["timesteps"]]
    folder = run.place("choose")
    folder.mkdir(exist_ok=True)
    rows = choose.search(
        model_at(run, training, fit),
        fit,
        good,
        real,
        levels,
        planned["search_draws"],
        folder,
        run.progress,
        run.asked.seed,
    )
    best, others = rows[0], [{**row, "medians": None} for row in rows[1:]]
    return {"best": best, "others": others}


def export(run):
    """The network becomes an ONNX graph, in a bundle without a threshold."""
    found, asked = run.done("look"), run.asked
    training = trained(run)
    words = {
        "data": f"{found['pictures']} pictures of {found['parts']} good parts of the user's own",
        "learned_with": asked.command(),
    }
    made = run.place("exported")
    shutil.rmtree(made, ignore_errors=True)
    detector = choose.detector_of(run.done("choose")["best"])
    model = model_at(run, training, fitted(run, training))(detector.k)
    wrote = bundle.write(
        choices.subject_of(training, model, words),
        run.name,
        detector,
        choices.DRAWS,
        run.side("choose"),
        made,
        version=0,  # `calibrate` writes the next one
        read=run.read(training.pictures),
        progress=run.progress.steps,
    )
    return {name: float(value) for name, value in wrote.items()}


def calibrating(run):
    """`certiscope calibrate` makes the training maps and the threshold."""
    found, asked = run.done("look"), run.asked
    options = ["--distinct-parts", "--false-alarm-rate", found["rate"], "--seed", asked.seed]
    options += ["--radius", asked.radius] if asked.radius is not None else []
    options += ["--full-scale", asked.full_scale] if asked.full_scale is not None else []
    options += ["--mixed-sizes"] if asked.mixed_sizes else []
    with fresh(run, "calibrated") as made:
        doubts = station.calibrate(
            run.program,
            run.place("exported"),
            run.side("threshold"),
            run.side("maps"),
            made / run.name,
            options,
            run.place("calibrate"),
            run.progress,
            run.done("plan")["seconds"]["calibrate"],
        )
    return {"doubts": doubts}


class fresh:
    """A new folder for each attempt; it becomes work/NAME when the attempt succeeded."""

    def __init__(self, run, name):
        self.attempt, self.kept = run.place(f"{name}.{os.getpid()}-{time.time_ns()}"), run.place(name)
        for old in run.folder.glob(f"{name}*"):
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)

    def __enter__(self):
        self.attempt.mkdir()
        return self.attempt

    def __exit__(self, kind, *_):
        if kind is None:
            os.replace(self.attempt, self.kept)
        else:
            shutil.rmtree(self.attempt, ignore_errors=True)


def reporting(run):
    """A station inspects good parts, the same with synthetic defects, and real defects that nothing was chosen with."""
    calibrated = run.place("calibrated") / run.name
    scores = page.scores_of(calibrated)
    good = report.good_parts(scores, run.side("threshold"))
    shape = choices.input_shape(run.architecture)
    shutil.rmtree(run.place("synthetic"), ignore_errors=True)
    synthetic = report.write_synthetic(
        picture_files(run.side("threshold")), shape, run.asked.full_scale, run.place("synthetic")
    )
    of = [("good", file) for file in good] + [("synthetic", file) for file in synthetic]
    for kind, files in run.kinds.items():
        of += [(f"real: {kind}", file) for file in reported_on(files)[: report.REAL_EACH]]
    with fresh(run, "heat-maps") as maps:
        records = station.inspect(
            run.program,
            calibrated,
            [file for _, file in of],
            maps,
            [],
            run.place("inspect"),
            run.progress,
            run.done("plan")["seconds"]["report"],
        )
    kept = ("verdict", "reason", "score", "radius", "draws", "infer_ms", "fault")
    rows = []
    for (kind, file), record in zip(of, records):
        made = record.get("heat_map")
        heat = Path(made).name if made else None
        rows.append({"kind": kind, "file": str(file), "heat_map": heat, **{name: record.get(name) for name in kept}})
    return {"rows": rows}


def writing(run):
    """The page and the card are written into the bundle, and the bundle is moved into place."""
    calibrated = run.place("calibrated") / run.name
    if not calibrated.exists() and run.out.exists():
        return {}  # it was moved, and the end of that was not recorded
    facts = page.Facts.of(run, calibrated)
    work.write_whole(calibrated / OWN[0], page.html(facts))
    work.write_whole(calibrated / OWN[1], card.markdown(facts))
    os.rename(calibrated, run.out)
    return {}


STAGES = {
    "look": ("looking at the pictures", look_at_pictures),
    "sort": ("sorting the pictures", sort_pictures),
    "plan": ("measuring this machine", plan),
    "training": ("training", training),
    "choose": ("choosing", choosing),
    "export": ("exporting", export),
    "calibrate": ("calibrating", calibrating),
    "report": ("inspecting", reporting),
    "page": ("writing the page", writing),
}
FIRST = {"look": 20.0, "sort": 1.0, "plan": 20.0}  # seconds, before anything is measured


def learn(asked):
    """Do what is not done yet; returns the folder of the bundle."""
    run = Run(asked)
    try:
        refuse_what_is_there(run)
        follow_the_pictures(run)
        do_the_stages(run)
    finally:
        run.work.leave()
    for doubt in run.done("calibrate")["doubts"]:
        show(doubt)
    return run.out


def do_the_stages(run):
    """Every stage that is not done yet, under one bar."""
    # until it is measured, so that the bar does not begin too far on
    later = budget.SECONDS[run.asked.budget] / len(STAGES)
    run.progress = Progress({**dict.fromkeys(STAGES, later), **FIRST})
    try:
        for name, (words, stage) in STAGES.items():
            if name not in run.work.done:
                run.progress.begin(name, words)
                run.work.finish(name, stage(run))
            if name == "look":
                say_what_is_odd(run)
            if name == "plan":
                run.progress.expect(run.done("plan")["seconds"])
                say_the_plan(run)
    finally:
        run.progress.close()


def refuse_what_is_there(run):
    """Refuse to write over a folder, and to make a bundle again that was taken away."""
    finished = "page" in run.work.done
    if finished and not run.out.exists():
        raise Refused(
            f"learn.out = {run.asked.out}: was made, and is not there any more; delete {run.folder} to make it again"
        )
    if run.out.exists() and not finished and not moved_already(run):
        raise Refused(f"learn.out = {run.asked.out}: is there already; give a folder that is not")


def moved_already(run):
    """Whether the bundle at `out` is the one that this work made, and only the record of it is missing."""
    last = list(STAGES)[-2]
    return last in run.work.done and (run.out / OWN[0]).exists() and not (run.place("calibrated") / run.name).exists()


def follow_the_pictures(run):
    """The pictures may lie elsewhere than before, with the same contents: the links to them are made anew."""
    sides = run.work.done.get("look", {}).get("sides", {})
    if "sort" in run.work.done and "page" not in run.work.done:
        rows = [run.side(side) / row["file"] for side in SIDES for row in sides[side]]
        if not all(row.exists() for row in rows):
            run.work.forget(["sort"])


def say_what_is_odd(run):
    found = run.done("look")["odd"]
    if not found:
        return
    done = "left out" if run.asked.leave_out_odd else "learned as good all the same; --leave-out-odd leaves them out"
    listed = "; ".join(f"{name}: {why}" for name, why in list(found.items())[:LISTED])
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    say_once(f"learn: {len(found)} odd pictures among the good, {done}: {listed}{more}")


def say_the_plan(run):
    run.progress.clear()
    found, planned, counts = run.done("look"), run.done("plan"), run.done("sort")
    channels, height, width = choices.input_shape(run.architecture)
    left = sum(planned["seconds"][name] for name in list(STAGES)[3:] if name not in run.work.done)
    on = [name for name in STAGES if name not in run.work.done]
    show(
        f"{run.asked.good}: {found['pictures']} pictures of {found['parts']} parts: {counts['fit']} to train on, "
        f"{counts['choose']} to choose with, {counts['threshold']} for a threshold at {found['rate']:.0%} false alarms"
    )
    show(
        f"input {width}x{height}x{channels}, {planned['recipe']['steps']} steps, noise {planned['sigma']} for the "
        f"radius {planned['radius']:.4f}; about {in_words(left)} on this machine ({planned['machine']})"
    )
    if run.work.resumed and on:
        show(f"goes on with: {on[0]}")

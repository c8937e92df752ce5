"""Boots the machine for each wanted group and collects the results of its cases. See tests/vm/run."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

sys.dont_write_bytecode = True

import power_cut  # noqa: E402
import report  # noqa: E402
from machine import HERE, ROOT, Machine, RigFailure, give, take_back  # noqa: E402

OUT = ROOT / "target/vm"
GROUPS = ("camera", "service", "package", "power-cut")


@dataclass
class Case:
    name: str
    group: str
    shows: str
    limit: int


def known_cases():
    """Every case of the suite, read from its text: what it imports is in the machine and need not be here."""
    cases = []
    for file in ("camera_cases.py", "service_cases.py"):
        for node in ast.parse((HERE / "guest" / file).read_text()).body:
            for decorator in getattr(node, "decorator_list", []):
                if getattr(decorator.func, "id", None) == "case":
                    limits = [word.value.value for word in decorator.keywords if word.arg == "limit"]
                    shows = " ".join(ast.get_docstring(node).split())
                    cases.append(Case(node.name.replace("_", "-"), decorator.args[0].value, shows, *(limits or [180])))
    return cases


def chosen(words):
    """The wanted cases by group."""
    words = words or ["camera", "service"] + (["package"] if os.environ.get("CERTISCOPE_DEB") else [])
    cases = known_cases()
    unknown = set(words) - set(GROUPS) - {case.name for case in cases}
    if unknown:
        sys.exit(f"{', '.join(sorted(unknown))}: no such case or group; tests/vm/run --list names them")
    groups = {}
    for case in cases:
        if case.name in words or case.group in words:
            groups.setdefault(case.group, []).append(case)
    return groups, "power-cut" in words


def run_group(group, cases, image, binary, package):
    """Results of the cases, and the rig's failure where there was one."""
    share = OUT / group
    give(share, binary, package)
    (share / "cases.json").write_text(json.dumps([case.name for case in cases]))
    broken = None
    machine = Machine(image, share)
    try:
        code = machine.wait(300 + sum(case.limit + 30 for case in cases))
        if code != 0:
            broken = f"the suite ended with {code}: {(share / 'output.log').read_text(errors='replace')[-600:]}"
    except RigFailure as failure:
        broken = str(failure)
    finally:
        if machine.alive():
            machine.cut()
    take_back(share)
    return gather(share, cases), broken


def gather(share, cases):
    """What the machine wrote; a case without an answer was not run, or died with the machine."""
    written = share / "results.jsonl"
    answers, began = {}, None
    for line in written.read_text().splitlines() if written.exists() else []:
        answer = json.loads(line)
        if "began" in answer:
            began = answer["case"]
        else:
            answers[answer["case"]] = answer
    return [
        answers.get(case.name) or {
            "case": case.name, "group": case.group, "shows": case.shows, "passed": None, "seconds": 0.0,
            "seen": "the machine died in it" if case.name == began else "the machine was dead by then",
        }
        for case in cases
    ]


def main():
    if sys.argv[1:] == ["--list"]:
        for case in known_cases():
            print(f"{case.group:10}{case.name:32} {case.shows}")
        print(f"{'power-cut':42} {power_cut.SHOWS}")
        return 0
    image, binary, *words = sys.argv[1:]
    binary, package = Path(binary), os.environ.get("CERTISCOPE_DEB")
    groups, cuts = chosen(words)
    if "package" in groups and not package:
        sys.exit("the group `package` needs one: CERTISCOPE_DEB=FILE")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    began = datetime.now(timezone.utc)
    results, broken = [], {}
    for group, cases in groups.items():
        print(f"{group}: {len(cases)} cases", flush=True)
        of_group, failure = run_group(group, cases, image, binary, package)
        results += of_group
        if failure:
            broken[group] = failure
    if cuts:
        try:
            results.append(power_cut.run(image, OUT / "power-cut", binary, package, int(os.environ.get("POWER_CUTS", "20"))))
        except RigFailure as failure:
            broken["power-cut"] = str(failure)
    version = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.strip()
    names = list(groups) + (["power-cut"] if cuts else [])
    return report.write(OUT, report.about(binary, version, names, began), results, broken)


# If this program is stopped from outside, machines and brokers end too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(97))
sys.exit(main())

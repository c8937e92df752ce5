"""Writes the results of a run: a table on the terminal, Markdown and JSON."""

import json
from datetime import datetime, timezone

WORDS = {True: "pass", False: "FAIL", None: "NOT RUN"}


def one_line(text):
    return " ".join(text.split())


def write(folder, about, results, broken):
    """`broken`: rig failures, by group. Returns the exit code."""
    (folder / "report.json").write_text(json.dumps({**about, "rig_failures": broken, "cases": results}, indent=1) + "\n")
    lines = ["# The suite in the machine", "", one_line(", ".join(f"{key} {value}" for key, value in about.items())), ""]
    lines += [f"**RIG FAILURE** in {group}: {one_line(why)}" for group, why in broken.items()] + ([""] if broken else [])
    lines += ["| case | result | s | shows | seen |", "|---|---|---|---|---|"]
    for result in results:
        seen = one_line(result["seen"])[:1000].replace("|", "\\|")
        lines.append(f"| {result['case']} | {WORDS[result['passed']]} | {result['seconds']} | {result['shows']} | {seen} |")
    (folder / "report.md").write_text("\n".join(lines) + "\n")
    for result in results:
        seen = one_line(result["seen"])
        print(f"{WORDS[result['passed']]:8}{result['seconds']:7.1f} s  {result['group']:10}{result['case']:32} {seen[:300]}")
    for group, why in broken.items():
        print(f"RIG FAILURE in {group}: {one_line(why)}")
    passed = sum(result["passed"] is True for result in results)
    print(f"{passed} of {len(results)} cases passed; report: {folder / 'report.md'}")
    if broken:
        return 97
    return 0 if passed == len(results) else 1


def about(binary, version, groups, began):
    return {
        "program": version,
        "binary": binary.name,
        "groups": " ".join(groups),
        "at": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": round((datetime.now(timezone.utc) - began).total_seconds() / 60, 1),
    }

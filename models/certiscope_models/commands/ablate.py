"""`certiscope-models ablate`."""

from pathlib import Path

import torch

from .. import Refused, ablation
from ..output import show

HELP = "train and measure the rows of a table of experiments, such as ablation/levers.toml"


def add_arguments(parser):
    add = parser.add_argument
    add("--table", required=True, help="TOML file: runs, and rows that measure them")
    add("--row", action="append", metavar="NAME", help="this row only; may be given several times (default: all rows)")
    add("--fit", required=True, help="folder of normal pictures to train on, e.g. SPLIT/fit")
    add("--held-back", required=True, help="folder of normal pictures of other groups, e.g. SPLIT/held-back")
    add("--test", required=True, help="folder with good/ and one folder for each kind of defect")
    add("--out", required=True, help="folder of the runs, of table.md and rows.jsonl")
    add("--steps", type=int, help="length of every run, in place of the table's (for a trial)")
    add("--device", default="cpu", help="cpu, or cuda where a GPU is")
    add("--threads", type=int, default=2)


def run(arguments):
    torch.set_num_threads(arguments.threads)
    table = ablation.read(arguments.table)
    wanted = arguments.row or [row.name for row in table.rows]
    rows = [row for row in table.rows if row.name in wanted]
    for name in wanted:
        if name not in {row.name for row in rows}:
            known = ", ".join(row.name for row in table.rows)
            raise Refused(f"ablate.row = {name!r}: not in {arguments.table}; {known}")
    out = Path(arguments.out)
    folders = arguments.fit, arguments.held_back, arguments.test
    show(ablation.HEADER)
    for row, found in ablation.run_rows(table, rows, *folders, out, arguments.steps, arguments.device):
        page = out / "table.md"
        page.write_text(
            (page.read_text() if page.exists() else f"{ablation.HEADER}\n") + ablation.line(row, found) + "\n"
        )
        with open(out / "rows.jsonl", "a") as log:
            log.write(ablation.as_json(found) + "\n")
        show(ablation.line(row, found))

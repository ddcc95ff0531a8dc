#!/usr/bin/env python3
"""Table of the demos that demo.sh made: python3 docs/results/demo.py OUT"""

import json
import sys
from pathlib import Path


def shown(estimate):
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


print("| seed | membership AUC, stage4, last checkpoint | above the untrained start | AUC after the repair, of before | view retrieval | k-NN (20) | linear probe |")
print("| --- | --- | --- | --- | --- | --- | --- |")
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    folder = path.with_suffix("")
    diagnosis = json.loads((folder / "diagnosis.json").read_text())
    last = len(diagnosis["checkpoints"]) - 1
    cell = next(c for c in diagnosis["cells"] if c["checkpoint"] == last and c["stage"] == "stage4")
    rows = {row["what"]: row for row in json.loads(path.read_text())["rows"]}

    def of(start, scale):
        row = next(row for what, row in rows.items() if what.startswith(start))
        change = row.get("change")
        more = f", {scale * change['value']:+.3g} ({scale * change['low']:+.3g} to {scale * change['high']:+.3g})" if change else ""
        return f"{scale * row['before']:.3g} to {scale * row['after']:.3g}{more}"

    told = [shown(cell["memorisation"]["membership"]), shown(cell["membership_above_control"]), of("membership AUC", 1)]
    told += [of("view retrieval", 100), of("knn-20", 100), of("linear", 100)]
    print(f"| {path.stem} | " + " | ".join(told) + " |")

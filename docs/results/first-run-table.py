"""Prints the tables of first-run.md from what first-run.sh wrote: python3 first-run-table.py OUT"""

import json
import statistics
import sys
from pathlib import Path

SCORES = ["knn-20", "knn-200", "linear"]


def read(path):
    return json.loads(path.read_text())


def spread(values):
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def table(head, rows):
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


seeds = sorted(Path(sys.argv[1]).glob("seed-*"))
subjects = {
    "untrained": "untrained.json",
    "trained": "evaluation.json",
    "umm": "umm/evaluation.json",
    "continue": "continue/evaluation.json",
}
print("Test accuracy in %\n")
rows = []
for name, file in subjects.items():
    scores = [read(seed / file)["rows"][0]["accuracy"] for seed in seeds]
    for score in SCORES:
        values = [100 * s[score] for s in scores]
        rows.append([name, score, *(f"{v:.2f}" for v in values), spread(values)])
table(["encoder", "protocol", *(seed.name for seed in seeds), "mean ± deviation"], rows)

print("Difference to the trained encoder in points\n")
rows = []
for name in ["umm", "continue"]:
    for score in SCORES:
        after, before = (
            [100 * read(seed / subjects[which])["rows"][0]["accuracy"][score] for seed in seeds]
            for which in [name, "trained"]
        )
        values = [a - b for a, b in zip(after, before)]
        rows.append([name, score, *(f"{v:+.2f}" for v in values), spread(values)])
table(["repair", "protocol", *(seed.name for seed in seeds), "mean ± deviation"], rows)

print("Stage4 of the last checkpoint and of the repaired encoders\n")
rows = []
for name, folder, checkpoint in [("trained", "diagnosis", -1), ("umm", "umm/diagnosis", 1), ("continue", "continue/diagnosis", 1)]:
    for seed in seeds:
        diagnosis = read(seed / folder / "diagnosis.json")
        at = checkpoint % len(diagnosis["checkpoints"])
        cell = next(c for c in diagnosis["cells"] if c["checkpoint"] == at and c["stage"] == "stage4")
        low, high = cell["gap_interval"]
        rows.append([
            name, seed.name, f"{cell['memorisation_gap']:.4f} [{low:.4f}, {high:.4f}]",
            *(f"{cell[side]['by_pair']['coding_rate_reduction']:.2f}" for side in ["train", "unseen"]),
            *(f"{cell[side]['measures']['rankme']:.1f}" for side in ["train", "unseen"]),
        ])
table(["encoder", "seed", "memorisation gap", "ΔR by pair, training", "unseen", "RankMe, training", "unseen"], rows)

for seed in seeds:
    print(f"{seed.name}: {read(seed / 'diagnosis' / 'diagnosis.json')['summary']}")

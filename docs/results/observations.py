"""What observations.sh found: `observations.py line RUN` prints a finished run as one line of JSON, `observations.py table
FILE.jsonl` the verdicts on the hypotheses of docs/decisions/0005 and the numbers behind them, in Markdown."""

import json
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]
EARLY, LATE = STAGES[:3], STAGES[-1]


def read(path):
    return json.loads(path.read_text())


def line(run):
    data, method, regime, seed = run.name.rsplit("-", 3)
    diagnosis = read(run / "diagnosis/diagnosis.json")

    def by_stage(number):
        cells = [[cell for cell in diagnosis["cells"] if cell["stage"] == stage] for stage in STAGES]
        return {stage: [round(number(cell), 5) for cell in own] for stage, own in zip(STAGES, cells)}

    accuracy = {}
    for place in ("kept", "broken"):
        file = run / place / "evaluation.json"
        if file.exists():
            rows = read(file)["rows"]
            of = lambda stage, protocol: [row["accuracy"][protocol] for row in rows if row["stage"] == stage]
            accuracy[place] = {p: {stage: of(stage, p) for stage in STAGES} for p in ("knn-20", "linear")}
    onsets = [{key: onset[key] for key in ("of", "stage", "epoch", "interval", "rise", "p")} for onset in diagnosis["onsets"]]
    choices = {
        choice["criterion"]: diagnosis["checkpoints"][choice["checkpoint"]]["epoch"] for choice in diagnosis["choices"]
    }
    found = {
        "run": run.name,
        "data": data,
        "method": method,
        "regime": regime,
        "seed": int(seed),
        "epochs": [row["epoch"] for row in diagnosis["checkpoints"]],
        "gap": by_stage(lambda cell: cell["memorisation_gap"]),
        "gap_interval": by_stage_of_pairs(diagnosis),
        "membership": by_stage(lambda cell: cell["membership"]["auc"]["value"]),
        "pair_rate": by_stage(lambda cell: cell["train"]["by_pair"]["coding_rate_reduction"]),
        "onsets": onsets,
        "choices": choices,
        # Of the kept checkpoints, without the untrained start.
        "accuracy": accuracy,
    }
    print(json.dumps(found))


def by_stage_of_pairs(diagnosis):
    cells = diagnosis["cells"]
    return {s: [[round(x, 5) for x in c["gap_interval"]] for c in cells if c["stage"] == s] for s in STAGES}


def kendall(x, y):
    pairs = [(a - b) * (c - d) for (a, c), (b, d) in combinations(list(zip(x, y)), 2)]
    concordant, discordant = sum(p > 0 for p in pairs), sum(p < 0 for p in pairs)
    untied = [sum(a != b for a, b in combinations(v, 2)) for v in (x, y)]
    scale = (untied[0] * untied[1]) ** 0.5
    return (concordant - discordant) / scale if scale else float("nan")


def onset(run, stage, of="memorisation_gap"):
    return next((o for o in run["onsets"] if o["of"] == of and o["stage"] == stage), None)


def decline(run, place, stage):
    curve = run["accuracy"][place]["knn-20"][stage]
    return max(curve) - curve[-1]


def clauses(run):
    """For each hypothesis True (this seed holds it), False (it refutes it) or None (not asked)."""
    late = onset(run, LATE)
    rise = lambda stage: (onset(run, stage) or {"rise": {"value": 0.0}})["rise"]["value"]
    place = "broken" if "broken" in run["accuracy"] else "kept"
    rate = onset(run, LATE, "coding_rate_reduction")
    meet = late and rate and rate["interval"][0] <= late["interval"][1] and late["interval"][0] <= rate["interval"][1]
    tau = kendall(run["pair_rate"][LATE][1:], run["accuracy"][place]["knn-20"][LATE])
    return {
        "H1": bool(late) and all(rise(stage) < 0.5 * rise(LATE) for stage in EARLY),
        "H2": late["interval"][0] > 0.1 * run["epochs"][-1] if late else None,
        "H3": decline(run, place, LATE) > 0.03,
        "H4": all(decline(run, place, stage) <= 0.03 for stage in ("stage1", "stage2")),
        "H5": bool(meet) if late else None,
        "H6": tau > 0,
    }


def verdict(answers):
    asked = [answer for answer in answers if answer is not None]
    if len(answers) < 3:
        return "not decided"
    if not asked:
        return "not asked"
    return "held" if 2 * sum(asked) > len(asked) else "refuted"


def table(path):
    runs = [json.loads(text) for text in path.read_text().splitlines()]
    cells = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run["data"], run["regime"], run["method"], run["seed"])):
        cells[run["data"], run["regime"], run["method"]].append(run)
    names = ["H1", "H2", "H3", "H4", "H5", "H6"]
    mark = {True: "+", False: "-", None: "o"}
    print("| data | regime | method | seeds | " + " | ".join(names) + " |")
    print("|---" * (4 + len(names)) + "|")
    for (data, regime, method), own in cells.items():
        answers = [clauses(run) for run in own]
        shown = [f"{''.join(mark[a[name]] for a in answers)} {verdict([a[name] for a in answers])}" for name in names]
        print(f"| {data} | {regime} | {method} | {', '.join(str(run['seed']) for run in own)} | " + " | ".join(shown) + " |")
    print("\n| run | gap stage4, last [interval] | stage3 | stage2 | AUC stage4 | onset stage4 [interval] | k-NN stage4 best (epoch) -> last | stage2 best -> last |")
    print("|---" * 8 + "|")
    for own in cells.values():
        for run in own:
            late = onset(run, LATE)
            when = f"{late['epoch']:.0f} [{late['interval'][0]:.0f}, {late['interval'][1]:.0f}]" if late else "none seen"
            low, high = run["gap_interval"][LATE][-1]
            for place, accuracy in run["accuracy"].items():
                knn = accuracy["knn-20"]
                best = max(range(len(knn[LATE])), key=lambda i: knn[LATE][i])
                print(
                    f"| {run['run']}, {place} | {run['gap'][LATE][-1]:.4f} [{low:.4f}, {high:.4f}] | {run['gap']['stage3'][-1]:.4f} "
                    f"| {run['gap']['stage2'][-1]:.4f} | {run['membership'][LATE][-1]:.3f} | {when} "
                    f"| {100 * knn[LATE][best]:.1f} ({run['epochs'][best + 1]}) -> {100 * knn[LATE][-1]:.1f} "
                    f"| {100 * max(knn['stage2']):.1f} -> {100 * knn['stage2'][-1]:.1f} |"
                )


if __name__ == "__main__":
    {"line": line, "table": table}[sys.argv[1]](Path(sys.argv[2]))

"""What observations.sh found. `observations.py line RUN` prints a finished run as one line of JSON. `observations.py table
FILE.jsonl` prints the verdicts on the hypotheses of docs/decisions/0005, how well label-free criteria choose, and the numbers
behind them, in Markdown. `observations.py trained FILE.jsonl` prints how well the criteria choose among trained checkpoints
alone. `observations.py plots FILE.jsonl` draws into a folder named after the file (needs matplotlib)."""

import json
import random
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]
EARLY, LATE = STAGES[:3], STAGES[-1]
# Where accuracy is asked: the same source; `shapes` with the correlation broken; from CIFAR-10 to `shapes`.
PLACES = ["kept", "broken", "transfer"]
EARLIEST = "view_retrieval, earliest as good"


def read(path):
    return json.loads(path.read_text())


def line(run):
    data, method, regime, seed = run.name.rsplit("-", 3)
    diagnosis = read(run / "diagnosis/diagnosis.json")

    def by_stage(number):
        cells = [[cell for cell in diagnosis["cells"] if cell["stage"] == stage] for stage in STAGES]
        return {stage: [round(number(cell), 5) for cell in own] for stage, own in zip(STAGES, cells)}

    accuracy = {}
    for place in PLACES:
        file = run / place / "evaluation.json"
        if file.exists():
            rows = sorted(read(file)["rows"], key=lambda row: row["epoch"])
            of = lambda stage, protocol: [row["accuracy"][protocol] for row in rows if row["stage"] == stage]
            accuracy[place] = {p: {stage: of(stage, p) for stage in STAGES} for p in ("knn-20", "linear")}
    onsets = [{key: onset[key] for key in ("of", "stage", "rise", "p")} for onset in diagnosis["onsets"]]
    for found, onset in zip(onsets, diagnosis["onsets"]):
        found |= {"epoch": onset["epoch"]["value"], "interval": [onset["epoch"]["low"], onset["epoch"]["high"]]}
    epoch = lambda checkpoint: diagnosis["checkpoints"][checkpoint]["epoch"]
    free = [choice for choice in diagnosis["choices"] if not choice["needs_labels"]]
    choices = {choice["criterion"]: epoch(choice["checkpoint"]) for choice in free}
    choices |= {EARLIEST: epoch(choice["earliest"]["checkpoint"]) for choice in free if "earliest" in choice}
    found = {
        "run": run.name,
        "data": data,
        "method": method,
        "regime": regime,
        "seed": int(seed),
        "epochs": [row["epoch"] for row in diagnosis["checkpoints"]],
        "gap": by_stage(lambda cell: cell["memorisation"]["memorisation_gap"]["value"]),
        "gap_interval": by_stage_of_pairs(diagnosis),
        "membership": by_stage(lambda cell: cell["memorisation"]["membership"]["value"]),
        "pair_rate": by_stage(lambda cell: cell["train"]["by_pair"]["coding_rate_reduction"]),
        "onsets": onsets,
        "choices": choices,
        "criteria": {name: curve for name in choices if (curve := measure(diagnosis, name))},
        "accuracy": accuracy,
    }
    print(json.dumps(found))


def measure(diagnosis, name):
    """A measure of the last stage over the checkpoints, where the diagnosis has it as it is chosen by: of unseen images."""
    cells = [cell for cell in diagnosis["cells"] if cell["stage"] == LATE]
    if name == "batch_gradient_norm_squared":
        return [cell[name] for cell in cells]
    sides = [cell["unseen"] for cell in cells]
    curve = [side["measures"].get(name, side["by_pair"].get(name)) for side in sides]
    return None if None in curve else [float(f"{value:.6g}") for value in curve]


def by_stage_of_pairs(diagnosis):
    ends = lambda cell: [round(cell["memorisation"]["memorisation_gap"][end], 5) for end in ("low", "high")]
    return {stage: [ends(cell) for cell in diagnosis["cells"] if cell["stage"] == stage] for stage in STAGES}


def kendall(x, y):
    pairs = [(a - b) * (c - d) for (a, c), (b, d) in combinations(list(zip(x, y)), 2)]
    concordant, discordant = sum(p > 0 for p in pairs), sum(p < 0 for p in pairs)
    untied = [sum(a != b for a, b in combinations(v, 2)) for v in (x, y)]
    scale = (untied[0] * untied[1]) ** 0.5
    return (concordant - discordant) / scale if scale else float("nan")


def onset(run, stage, of="memorisation_gap"):
    return next((o for o in run["onsets"] if o["of"] == of and o["stage"] == stage), None)


def decline(run, place, stage):
    """Of the trained checkpoints: the untrained start is none that one would keep."""
    curve = run["accuracy"][place]["knn-20"][stage][1:]
    return max(curve) - curve[-1]


def clauses(run):
    """For each hypothesis True (this seed holds it), False (it refutes it) or None (not asked)."""
    late = onset(run, LATE)
    rise = lambda stage: (onset(run, stage) or {"rise": {"value": 0.0}})["rise"]["value"]
    place = "broken" if "broken" in run["accuracy"] else "kept"
    rate = onset(run, LATE, "coding_rate_reduction")
    meet = late and rate and rate["interval"][0] <= late["interval"][1] and late["interval"][0] <= rate["interval"][1]
    tau = kendall(run["pair_rate"][LATE], run["accuracy"][place]["knn-20"][LATE])
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
    if asked.count(False) >= 2:
        return "refuted"
    return "held" if len(asked) >= 2 else "not decided"


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
                knn = {stage: curve[1:] for stage, curve in accuracy["knn-20"].items()}
                best = max(range(len(knn[LATE])), key=lambda i: knn[LATE][i])
                print(
                    f"| {run['run']}, {place} | {run['gap'][LATE][-1]:.4f} [{low:.4f}, {high:.4f}] | {run['gap']['stage3'][-1]:.4f} "
                    f"| {run['gap']['stage2'][-1]:.4f} | {run['membership'][LATE][-1]:.3f} | {when} "
                    f"| {100 * knn[LATE][best]:.1f} ({run['epochs'][best + 1]}) -> {100 * knn[LATE][-1]:.1f} "
                    f"| {100 * max(knn['stage2']):.1f} -> {100 * knn['stage2'][-1]:.1f} |"
                )
    for regime in ("hard", "easy"):
        criteria([run for run in runs if run["regime"] == regime], regime)


# The good end of each measure, as crates/lethe-measures/src/criteria.rs has it. alpha_req is wanted near 1.
LOWER = {"uniformity", "idest", "fisher_trace", "batch_gradient_norm_squared"}


def trained(path):
    """The choices among trained checkpoints: the rules of crates/lethe-measures/src/criteria.rs on the curves without the start."""
    runs = [json.loads(text) for text in path.read_text().splitlines()]
    for run in runs:
        chosen = {name: run["epochs"][1 + choose(name, curve[1:])] for name, curve in run["criteria"].items()}
        # View retrieval has no curve here; it never chose the start.
        kept = {name: epoch for name, epoch in run["choices"].items() if name.startswith("view_retrieval")}
        assert kept["view_retrieval"] > 0
        run["choices"] = {"view_retrieval": kept["view_retrieval"]} | chosen
        run["criteria"] = {name: curve[1:] for name, curve in run["criteria"].items()}
        run["epochs"] = run["epochs"][1:]
        for place in run["accuracy"].values():
            for protocol in place.values():
                protocol[LATE] = protocol[LATE][1:]
        run["gap"][LATE] = run["gap"][LATE][1:]
    for regime in ("hard", "easy"):
        criteria([run for run in runs if run["regime"] == regime], regime)


def choose(name, curve):
    scores = [goodness(name, value) for value in curve]
    span, last = max(curve) - min(curve), len(curve) - 1
    if name == "dse":  # the first peak
        return next(at for at in range(last + 1) if all(near <= scores[at] for near in scores[max(at - 2, 0) : at + 3]))
    if name == "coding_rate_reduction":  # the best before the first decline by a tenth of the range
        best = 0
        for at, score in enumerate(scores):
            if score > scores[best]:
                best = at
            elif score < scores[best] - 0.1 * span:
                break
        return best
    if name == "fisher_trace":  # where it settles
        return next(at for at in range(last + 1) if all(abs(value - curve[last]) <= 0.1 * span for value in curve[at:]))
    return scores.index(max(scores))


def criteria(runs, regime):
    """Mean over the runs [95 % interval from runs drawn anew]."""
    places = lambda run: [("kept", "knn-20"), ("kept", "linear"), (other(run), "knn-20"), (other(run), "linear")]
    names = ["last checkpoint", *dict.fromkeys(name for run in runs for name in run["choices"])]
    print(f"\nThe {regime} regime, {len(runs)} runs; the last stage.\n")
    print(
        "| chosen by | epochs off, % of the run: k-NN, linear | points lost: k-NN | linear | k-NN elsewhere | linear elsewhere "
        "| gap, of the last one's | Kendall's tau to k-NN | Spearman's rho |"
    )
    print("|---" * 9 + "|")
    for name in names:
        off, lost, gaps, ranks = defaultdict(list), defaultdict(list), [], []
        for run in runs:
            epochs = run["epochs"]
            at = epochs.index(run["choices"].get(name, epochs[-1]))
            for column, (place, protocol) in enumerate(places(run)):
                curve = run["accuracy"][place][protocol][LATE]
                off[column].append(100 * abs(epochs[at] - epochs[curve.index(max(curve))]) / epochs[-1])
                lost[column].append(100 * (max(curve) - curve[at]))
            gaps.append(run["gap"][LATE][at] - run["gap"][LATE][-1])
            if name in run["criteria"]:
                values = [goodness(name, value) for value in run["criteria"][name]]
                accuracy = run["accuracy"]["kept"]["knn-20"][LATE]
                ranks.append((kendall(values, accuracy), spearman(values, accuracy)))
        tau, rho = ([*zip(*ranks)] if ranks else ([], []))
        print(
            f"| {name} | {mean(off[0]):.0f}, {mean(off[1]):.0f} | "
            + " | ".join(interval(lost[column], 1) for column in range(4))
            + f" | {interval(gaps, 3)} | {interval(tau, 2)} | {interval(rho, 2)} |"
        )


def other(run):
    return "broken" if "broken" in run["accuracy"] else "transfer"


def goodness(name, value):
    if name == "alpha_req":
        return -abs(value - 1)
    return -value if name in LOWER else value


def mean(values):
    return sum(values) / len(values)


def interval(values, digits):
    if not values:
        return "-"
    draw = random.Random(0)
    means = sorted(mean(draw.choices(values, k=len(values))) for _ in range(2000))
    return f"{mean(values):.{digits}f} [{means[49]:.{digits}f}, {means[1949]:.{digits}f}]"


def ranked(values):
    order = sorted(values)
    return [order.index(v) + (order.count(v) - 1) / 2 for v in values]


def spearman(x, y):
    x, y = ranked(x), ranked(y)
    dx, dy = [a - mean(x) for a in x], [b - mean(y) for b in y]
    scale = (sum(a * a for a in dx) * sum(b * b for b in dy)) ** 0.5
    return sum(a * b for a, b in zip(dx, dy)) / scale if scale else float("nan")


def plots(path):
    """Gap and accuracy of every stage over the epochs: the mean of the seeds, and their range as a band."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [json.loads(text) for text in path.read_text().splitlines()]
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    shades = [pyplot.get_cmap("viridis")(0.9 - 0.85 * i / (len(STAGES) - 1)) for i in range(len(STAGES))]
    pictures = {
        "gap": (lambda run: run["gap"], "memorisation gap", True),
        "membership": (lambda run: run["membership"], "AUC of membership", True),
        "knn": (lambda run: run["accuracy"]["kept"]["knn-20"], "k-NN accuracy, same source", "row"),
        "elsewhere": (lambda run: run["accuracy"][other(run)]["knn-20"], "k-NN accuracy elsewhere", "row"),
    }
    methods = ("simclr", "byol", "vicreg")
    rows = [("cifar", "hard"), ("shapes", "hard"), ("cifar", "easy"), ("shapes", "easy")]
    for name, (curves, title, share) in pictures.items():
        figure, axes = pyplot.subplots(len(rows), 3, figsize=(10, 11), sharey=share, sharex="row", layout="constrained")
        for (data, regime), line_of_axes in zip(rows, axes):
            for method, axis in zip(methods, line_of_axes):
                own = [run for run in runs if (run["data"], run["regime"], run["method"]) == (data, regime, method)]
                for stage, shade in zip(STAGES, shades):
                    values = [*zip(*(curves(run)[stage] for run in own))]
                    if not values:
                        continue
                    epochs = own[0]["epochs"]
                    axis.fill_between(epochs, [min(v) for v in values], [max(v) for v in values], color=shade, alpha=0.2, lw=0)
                    axis.plot(epochs, [mean(v) for v in values], color=shade, label=stage)
                axis.set_title(f"{data}, {regime}, {method}, {len(own)} seeds", fontsize=9)
                axis.grid(alpha=0.3)
        figure.supylabel(title)
        figure.supxlabel("epoch")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(STAGES))
        figure.savefig(folder / f"{name}.png", dpi=80)
        pyplot.close(figure)


if __name__ == "__main__":
    {"line": line, "table": table, "trained": trained, "plots": plots}[sys.argv[1]](Path(sys.argv[2]))

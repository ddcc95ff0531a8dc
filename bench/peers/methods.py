"""Whether every method learns, and as well as the same method in lightly: docs/results/methods.md.

    python3 bench/peers/methods.py DIR --out OUT [--jobs 2] [--only METHOD]      # goes on where it stopped
    python3 bench/peers/methods.py --table

DIR holds train/CLASS/*.jpg and test/CLASS/*.jpg (CIFAR-10). docs/results/methods.toml is the plan: a configuration in the
words of `lethe pretrain --config`, what single methods have otherwise, and the seeds. Of every method and seed `lethe
pretrain` trains on a sample of DIR/train, then lightly (bench/peers/lightly_methods.py), where it has the method, with
the settings that lethe wrote to its config.toml: same images, steps, schedule, optimiser, heads and distribution of views.
`lethe evaluate` judges both, and an untrained encoder: bank the images of the training, questions all of DIR/test. A line a cell
goes to docs/results/methods.jsonl, with a mark of the settings: what the plan has changed since is made again. Every run has
one thread, so that `--jobs` of them do not disturb each other.
"""

import argparse
import hashlib
import json
import random
import shutil
import statistics
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common

PLAN = common.ROOT / "docs/results/methods.toml"
LETHE = common.LETHE
PROTOCOLS = ["knn-20", "linear"]
# Of Student's t at 0.975, by the number of seeds.
QUANTILES = {3: 4.303, 4: 3.182, 5: 2.776}


# --- Runs ---


def sample(folder, n, seed, out):
    """Copies the same number of images of every class."""
    if out.exists():
        return
    draw = random.Random(seed)
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    for of_class in classes:
        (part / of_class.name).mkdir(parents=True)
        for image in draw.sample(sorted(of_class.iterdir()), n // len(classes)):
            shutil.copy(image, part / of_class.name)
    part.rename(out)


def toml_of(table, name=""):
    """The text of a table of tables of plain values."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    inner = [toml_of(value, key) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join(([f"[{name}]"] if name else []) + plain + inner) + "\n"


def config_of(plan, method):
    """What lethe is told: the plan's common settings under those of a row, which is named after its method or names it."""
    return {**plan["config"], "method": method, **plan["methods"][method]}


def untrained_flags(plan, encoder):
    """As the first method that has this encoder sees images."""
    configs = (config_of(plan, method) for method in plan["methods"])
    config = next(config for config in configs if config["encoder"] == encoder)
    flags = ["--encoder", encoder, "--normalize", config["normalize"], "--image-size", config["image_size"]]
    return flags + [part for key in ("patch", "pool") if key in config for part in (f"--{key}", config[key])]


def mark(plan, side, method):
    """Of all settings of a cell but the seed."""
    settings = untrained_flags(plan, method) if side == "untrained" else config_of(plan, method)
    return hashlib.sha256(json.dumps([plan["images"], settings], sort_keys=True).encode()).hexdigest()[:8]


class Bench:
    def __init__(self, options, plan):
        self.data, self.out, self.plan = Path(options.folder).resolve(), Path(options.out).resolve(), plan
        self.python = common.python()
        self.lines = options.plan.with_suffix(".jsonl")
        self.done = {(line["side"], line["method"], line["seed"]) for line in read_lines(self.lines, plan)}

    def images(self, seed):
        return self.out / f"images-{seed}"

    def lethe(self, method, seed):
        run = self.out / method / str(seed) / "lethe"
        config, told = run.with_suffix(".toml"), toml_of(config_of(self.plan, method))
        if config.exists() and config.read_text() != told:
            shutil.rmtree(run.parent)
        flags = ["--resume"]
        if not (run / "config.toml").exists():
            run.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(told)
            flags = ["--config", config, "--data", self.images(seed), "--seed", seed, "--threads", 1]
        common.run([LETHE, "pretrain", "--out", run, *flags])
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        loss = [row["loss"] for row in rows if row["kind"] == "step"]
        checkpoint = max((run / "checkpoints").glob("epoch-????.safetensors"))
        return {"loss": [loss[0], loss[-1]], "accuracy": self.judge([checkpoint], seed)}

    def lightly(self, method, seed):
        folder = self.out / method / str(seed)
        trained = folder / "lightly.pth"
        peer = [self.python, Path(__file__).with_name("train_lightly.py"), folder / "lethe/config.toml", trained]
        loss = json.loads(common.run(peer).splitlines()[-1])
        config = config_of(self.plan, method)
        if "pool" in config:  # which the tensors do not tell
            pooled = folder / "lightly.safetensors"
            common.run([LETHE, "convert", trained, pooled, "--pool", config["pool"], "--overwrite"])
            trained = pooled
        sight = ["--image-size", config["image_size"], "--normalize", config["normalize"]]
        return {"loss": loss, "accuracy": self.judge([trained, *sight], seed)}

    def untrained(self, encoder, seed):
        return {"accuracy": self.judge([*untrained_flags(self.plan, encoder), "--seed", seed], seed)}

    def judge(self, subject, seed):
        flags = ["--data", self.images(seed), "--test", self.data / "test", "--protocol", ",".join(PROTOCOLS)]
        told = common.run([LETHE, "evaluate", *subject, *flags, "--threads", 1, "--json"])
        return json.loads(told)["rows"][0]["accuracy"]

    def methods(self):
        return list(self.plan["methods"])

    def cells(self):
        encoders = dict.fromkeys(config_of(self.plan, method)["encoder"] for method in self.methods())
        for seed in self.plan["seeds"]:
            yield from (("untrained", encoder, seed) for encoder in encoders)
            for method in self.methods():
                yield "lethe", method, seed
                if method in self.plan["lightly"]:
                    yield "lightly", method, seed

    def make(self, cells):
        """Cells of one method and seed, in turn."""
        for side, method, seed in cells:
            line = {"side": side, "method": method, "seed": seed, "settings": mark(self.plan, side, method)}
            line |= getattr(self, side)(method, seed)
            with self.lines.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)

    def run(self, jobs, only):
        wanted = {only, config_of(self.plan, only)["encoder"]} if only else {name for _, name, _ in self.cells()}
        left = [cell for cell in self.cells() if cell not in self.done and cell[1] in wanted]
        for seed in self.plan["seeds"]:
            sample(self.data / "train", self.plan["images"], seed, self.images(seed))
        groups = {}
        for cell in left:
            groups.setdefault(cell[1:], []).append(cell)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(self.make, groups.values()))


# --- The table ---


def read_lines(path, plan):
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["settings"] == mark(plan, line["side"], line["method"])]


def percent(values):
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def difference(ours, theirs):
    """Points, of the seeds that both have, with the 95 % interval of a paired t test."""
    pairs = [100 * (ours[seed] - theirs[seed]) for seed in ours.keys() & theirs.keys()]
    mean, n = statistics.mean(pairs), len(pairs)
    if n not in QUANTILES:
        return f"{mean:+.1f}"
    half = QUANTILES[n] * statistics.stdev(pairs) / n**0.5
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def table(path, plan):
    found = {}
    for line in read_lines(path, plan):
        for protocol, accuracy in line["accuracy"].items():
            found.setdefault((line["side"], line["method"], protocol), {})[line["seed"]] = accuracy
    for protocol in PROTOCOLS:
        print(f"{protocol}, % of the test images\n")
        print("| method | untrained | lethe | over untrained | lightly | lethe over lightly |\n|---|---|---|---|---|---|")
        for method in plan["methods"]:
            encoder = config_of(plan, method)["encoder"]
            sides = [("untrained", encoder), ("lethe", method), ("lightly", method)]
            untrained, ours, theirs = (found.get((*side, protocol)) for side in sides)
            if not ours or not untrained:
                continue
            row = [method, percent([*untrained.values()]), percent([*ours.values()]), difference(ours, untrained)]
            row += [percent([*theirs.values()]), difference(ours, theirs)] if theirs else ["-", "-"]
            print(f"| {' | '.join(row)} |")
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--out")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", metavar="METHOD")
    parser.add_argument("--plan", type=Path, default=PLAN, help="its lines go to PLAN.jsonl beside it")
    parser.add_argument("--table", action="store_true", help="only draw up what methods.jsonl says")
    options = parser.parse_args()
    plan = tomllib.loads(options.plan.read_text())
    if not options.table:
        if not options.folder or not options.out:
            parser.error("DIR and --out are needed")
        common.build("--bin", "lethe")
        Bench(options, plan).run(options.jobs, options.only)
    table(options.plan.with_suffix(".jsonl"), plan)


if __name__ == "__main__":
    main()

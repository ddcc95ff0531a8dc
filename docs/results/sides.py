"""The table of sides.sh: sides.py DIR, where DIR holds a diagnosis for each encoder and pair of sides. Markdown."""

import json
import sys
from pathlib import Path

KINDS = {"untrained": "untrained", "easy": "trained, does not memorise", "hard": "trained, memorises"}
PAIRS = {"split": "random split", "other": "other"}


def shown(estimate):
    return "-" if estimate is None else f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def main(folder):
    rows = []
    for path in sorted(folder.glob("*/diagnosis.json")):
        kind, regime, other, pair = path.parent.name.split("-")
        found = json.loads(path.read_text())
        memorises = found["findings"]["memorises"]
        most = memorises.get("most", {})
        doubts = ", ".join(doubt["doubt"] for doubt in found["findings"]["doubts"]) or "-"
        sides = f"{kind} against unseen {other}" if pair == "other" else f"{kind}, random split"
        rows.append((list(KINDS).index(regime), pair != "split", sides, regime, memorises["answer"], most, doubts))
    print("| encoder | sides | answer | stage | membership AUC | control | above the control | doubts |")
    print("|---" * 8 + "|")
    for _, _, sides, regime, answer, most, doubts in sorted(rows, key=lambda row: row[:3]):
        print(
            f"| {KINDS[regime]} | {sides} | {answer} | {most.get('stage', '-')} | {shown(most.get('membership'))} "
            f"| {shown(most.get('control'))} | {shown(most.get('above_control'))} | {doubts} |"
        )
    wrong = [row for row in rows if row[4] == "yes" and not (row[3] == "hard" and not row[1])]
    missed = [row for row in rows if row[3] == "hard" and not row[1] and row[4] != "yes"]
    print(f"\nA plain yes where it is wrong: {len(wrong)}. A memoriser on a random split without a yes: {len(missed)}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

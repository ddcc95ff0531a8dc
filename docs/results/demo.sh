#!/usr/bin/env bash
# The demo with each seed: docs/results/demo.sh OUT SEED...
# It needs `lethe` on the PATH. OUT/SEED gets the folder of the demo, OUT/SEED.json what it said.
set -euo pipefail
out=$1
shift
mkdir -p "$out"
for seed in "$@"; do
    start=$SECONDS
    lethe demo --out "$out/$seed" --seed "$seed" --overwrite --json > "$out/$seed.json"
    echo "seed $seed: $((SECONDS - start)) seconds"
done

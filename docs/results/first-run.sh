#!/usr/bin/env bash
# The run behind first-run.md: first-run.sh CIFAR OUT [SEED ...]
# CIFAR holds train/<class>/*.jpg and test/<class>/*.jpg. Goes on where it stopped.
set -euo pipefail
cifar=$1 out=$2
shift 2
lethe=${LETHE:-target/release/lethe}
threads=${THREADS:-$(nproc)}

for seed in "${@:-0}"; do
    run=$out/seed-$seed
    data=$cifar/train@n=5000,seed=$seed
    unseen=$cifar/train@n=5000,skip=5000,seed=$seed
    last=$run/checkpoints/epoch-0100.safetensors
    if [ ! -e "$last" ]; then
        resume=()
        [ -e "$run/config.toml" ] && resume=(--resume) || resume=(--method simclr --data "$data" --encoder resnet18-w16
            --epochs 100 --batch-size 256 --seed "$seed" --threads "$threads" --save-every 20
            --optimizer adamw --lr 2e-3 --weight-decay 1e-4 --precision bf16)
        "$lethe" pretrain --out "$run" "${resume[@]}"
    fi
    judge() { "$lethe" evaluate "$@" --data "$data" --test "$cifar/test" --threads "$threads"; }
    [ -e "$run/untrained.json" ] || judge --encoder resnet18-w16 --seed "$seed" --out "$run/untrained.json"
    [ -e "$run/evaluation.json" ] || judge "$last" --out "$run/evaluation.json"
    [ -e "$run/diagnosis/diagnosis.json" ] ||
        "$lethe" diagnose "$run" --unseen "$unseen" --out "$run/diagnosis" --threads "$threads"
    for repair in umm continue; do
        undone=$run/$repair/undone.safetensors
        [ -e "$undone" ] || "$lethe" undo "$last" --data "$data" --split stage2 --repair "$repair" --lr 3e-4 --epochs 10 \
            --seed "$seed" --threads "$threads" --out "$run/$repair" --overwrite
        [ -e "$run/$repair/evaluation.json" ] || judge "$undone" --out "$run/$repair/evaluation.json"
        [ -e "$run/$repair/diagnosis/diagnosis.json" ] ||
            "$lethe" diagnose "$last" "$undone" --data "$data" --unseen "$unseen" --out "$run/$repair/diagnosis" \
                --threads "$threads"
    done
done

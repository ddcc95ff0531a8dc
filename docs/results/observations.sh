#!/usr/bin/env bash
# The runs behind observations.md: observations.sh CIFAR OUT. CIFAR holds train/<class>/*.jpg.
# Goes on where it stopped: a finished run is a line of observations.jsonl beside this script and is not made again.
# JOBS runs at a time (default: a core each), a thread a run.
set -euo pipefail
export CIFAR=$1 OUT=$2
export LETHE=${LETHE:-target/release/lethe}
export HERE=$(cd "$(dirname "$0")" && pwd)

one() {
    set -euo pipefail
    read -r seed method data regime <<<"$1"
    run=$OUT/$data-$method-$regime-$seed
    grep -qs "\"run\": \"${run##*/}\"" "$HERE/observations.jsonl" && return
    exec 9>"$run.lock"
    flock -n 9 || return 0 # another one of these scripts has it
    case $regime in
        easy) n=2000 epochs=100 every=10 ;;
        hard) n=250 epochs=1600 every=160 ;;
    esac
    of() { echo "shapes:n=$1,size=32,spurious=$2,seed=$((1000 * seed + $3))"; }
    case $data in
        cifar)
            train=$CIFAR/train@n=$n,seed=$seed
            unseen=$CIFAR/train@n=$n,skip=$n,seed=$seed
            banks=("kept $CIFAR/train@n=5000,skip=10000,seed=$seed $CIFAR/train@n=2000,skip=20000,seed=$seed"
                "transfer $(of 2000 0 5) $(of 2000 0 6)")
            ;;
        shapes)
            train=$(of $n 0.9 1)
            unseen=$(of $n 0.9 2)
            banks=("kept $(of 2000 0.9 3) $(of 2000 0.9 4)" "broken $(of 2000 0 5) $(of 2000 0 6)")
            ;;
    esac
    last=$run/checkpoints/epoch-$(printf %04d $epochs).safetensors
    if [ ! -e "$last" ]; then
        resume=()
        [ -e "$run/config.toml" ] && resume=(--resume) || resume=(--method "$method" --data "$train"
            --encoder resnet18-w16 --image-size 16 --epochs $epochs --batch-size 125 --save-every $every
            --optimizer adamw --lr 2e-3 --weight-decay 1e-4 --seed "$seed" --threads 1)
        "$LETHE" pretrain --out "$run" "${resume[@]}"
    fi
    normalize=$(sed -n 's/^normalize = "\(.*\)"/\1/p' "$run/config.toml")
    for bank in "${banks[@]}"; do
        read -r name from ask <<<"$bank"
        mkdir -p "$run/$name"
        [ -e "$run/$name/evaluation.json" ] ||
            "$LETHE" evaluate "$run"/checkpoints/epoch-????.safetensors --encoder resnet18-w16 --stem cifar --seed "$seed" \
                --image-size 16 --normalize "$normalize" --data "$from" --test "$ask" --stage all \
                --protocol knn-20,linear --threads 1 --out "$run/$name/evaluation.json"
    done
    [ -e "$run/diagnosis/diagnosis.json" ] ||
        "$LETHE" diagnose "$run" --unseen "$unseen" --images $n --fisher --threads 1 --out "$run/diagnosis"
    python3 "$HERE/observations.py" line "$run" >>"$HERE/observations.jsonl"
}
export -f one

mkdir -p "$OUT"
for method in simclr byol vicreg; do
    for regime in hard easy; do
        for seed in 0 1 2; do
            for data in cifar shapes; do
                echo "$seed $method $data $regime"
            done
        done
    done
done | xargs -d '\n' -P "${JOBS:-$(nproc)}" -I{} bash -c '(one "{}") >>"$OUT/log" 2>&1; [ $? = 0 ] || echo "failed: {}"'

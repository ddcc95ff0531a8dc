#!/usr/bin/env bash
# What `lethe diagnose` says where the two sides of a diagnosis differ in kind: sides.sh CIFAR OUT.
# CIFAR holds train/<class>/*.jpg. It goes on where it stopped. JOBS trainings at a time (default: one for each core).
#
# Training sets: animals and vehicles of CIFAR-10, and the generated shapes. Encoders: an untrained one (one epoch at a learning rate of 1e-12), one trained
# without memorising (SimCLR, 2,000 images, 100 epochs), and one that memorises (VICReg, 250 images, 1,600 epochs).
# Pairs of sides: a random split of the training set's kind, other classes of the same source, another source, each both
# ways round.
set -euo pipefail
export CIFAR=$1 OUT=$2
export LETHE=${LETHE:-target/release/lethe}
HERE=$(cd "$(dirname "$0")" && pwd)

classes() { # NAME CLASS..: a folder of links to some classes
    local name=$1
    shift
    mkdir -p "$OUT/$name"
    for class in "$@"; do ln -sfn "$(realpath "$CIFAR")/train/$class" "$OUT/$name/$class"; done
}
classes animals bird cat deer dog frog horse
classes vehicles airplane automobile ship truck

# The images of a kind: training images of an encoder, or others of the same kind.
images() { # KIND N train|unseen
    case $1-$3 in
        shapes-train) echo "shapes:n=$2,size=32,spurious=0.9,seed=1" ;;
        shapes-unseen) echo "shapes:n=$2,size=32,spurious=0.9,seed=2" ;;
        *-train) echo "$OUT/$1@n=$2,seed=0" ;;
        *-unseen) echo "$OUT/$1@n=$2,skip=$2,seed=0" ;;
    esac
}
export -f images

train() { # KIND easy|hard
    set -euo pipefail
    case $2 in
        untrained) method=simclr n=250 epochs=1 lr=1e-12 ;;
        easy) method=simclr n=2000 epochs=100 lr=2e-3 ;;
        hard) method=vicreg n=250 epochs=1600 lr=2e-3 ;;
    esac
    run=$OUT/$1-$2
    [ -e "$run/checkpoints/epoch-$(printf %04d $epochs).safetensors" ] && return
    new=(--method $method --data "$(images "$1" $n train)" --encoder resnet18-w16 --image-size 16 --epochs $epochs
        --batch-size 125 --save-every $epochs --optimizer adamw --lr $lr --weight-decay 1e-4 --seed 0 --threads 1)
    [ -e "$run/config.toml" ] && new=(--resume)
    "$LETHE" pretrain --out "$run" "${new[@]}"
}
export -f train
for regime in untrained hard easy; do for kind in animals vehicles shapes; do echo "$kind $regime"; done; done |
    xargs -P "${JOBS:-$(nproc)}" -L 1 bash -c 'train "$0" "$1" >>"$OUT/log" 2>&1'

diagnose() { # KIND easy|hard OTHER NAME FLAGS..: the other side is OTHER's unseen images
    [ "$2" = easy ] && n=2000 || n=250
    out=$OUT/diagnoses/$1-$2-$3-$4
    [ -e "$out/diagnosis.json" ] || "$LETHE" diagnose "$OUT/$1-$2" --unseen "$(images "$3" $n unseen)" \
        --images $n --out "$out" "${@:5}" >>"$OUT/log" 2>&1
}
for regime in untrained easy hard; do
    for pair in "animals animals" "vehicles vehicles" "shapes shapes"; do
        diagnose ${pair% *} $regime ${pair#* } split --random-split
    done
    for pair in "animals vehicles" "vehicles animals" "animals shapes" "shapes animals"; do
        diagnose ${pair% *} $regime ${pair#* } other
    done
done
python3 "$HERE/sides.py" "$OUT/diagnoses"

#!/bin/sh
# Remake the weights of the embedded model, `mini`. training/README.md says from what, and how close this comes.
#
#   training/make_mini.sh                 steps 1 to 5, into runs/mini
#   training/make_mini.sh enlarger        one step: enlarger, quick, tagger, autoencoder, diffusion or pack
#   training/make_mini.sh --dry-run       print the commands instead (before the steps, if any)
#
# Give the same command again after a stop: what is finished is skipped, a training goes on from its last checkpoint.
# RUNS=folder puts the results elsewhere; PYTHON and SEESR name the programs; NOUNS is WordNet's data.noun.
set -eu
cd "$(dirname "$0")/.."
RUNS=${RUNS:-runs/mini}
PYTHON=${PYTHON:-python}
SEESR=${SEESR:-seesr}
PHOTOS=../shared/photos # as in the configs
dry=no
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" # torch's threads do not spin while others use the cores

# run COMMAND...: run it, or print it so that a shell could read it
run() {
    if [ "$dry" = yes ]; then
        for word in "$@"; do printf "'%s' " "$word"; done
        echo
    else
        echo "+ $*" >&2
        "$@"
    fi
}

# once NAME COMMAND...: run it unless it has succeeded before
once() {
    done_file=$RUNS/done/$1
    shift
    if [ -e "$done_file" ]; then return; fi
    run "$@"
    mark "$done_file"
}

# train STAGE NAME STEPS [key=value...]: into $RUNS/NAME, up to the last step; $config: another config than the stage's
train() {
    stage=$1 name=$2 steps=$3
    shift 3
    done_file=$RUNS/done/$name
    if [ -e "$done_file" ]; then return; fi
    run "$SEESR" train "$stage" --config "configs/mini/${config:-$stage}.yaml" "output=$RUNS/$name" "steps=$steps" "$@"
    if [ "$dry" = no ] && [ ! -d "$RUNS/$name/checkpoints/$(printf 'step-%08d' "$steps")" ]; then
        echo "$RUNS/$name was stopped before step $steps; the same command goes on from there" >&2
        exit 1
    fi
    mark "$done_file"
}

mark() {
    if [ "$dry" = no ]; then mkdir -p "$(dirname "$1")" && : >"$1"; fi
}

# 1. The enlarger: three trainings from Real-ESRGAN x4plus; the result lies between the first and the third.
enlarger() {
    once x4plus "$PYTHON" -c 'import sys
from pathlib import Path
from seesr.checkpoints.ncnn import convert_realesrgan
convert_realesrgan(Path(sys.argv[1]))' "$RUNS/x4plus"

    train enlarger enlarger-1 158 "start=$RUNS/x4plus" schedule=constant warmup_steps=10 batch_size=4 precision=fp32 \
        'degradation={camera: 0.40, mild: 0.35, real-esrgan: 0.20, bicubic: 0.05}' ema_decay=0.98 \
        loss.adversarial=0.0375 loss.adversarial_pixels=0.0125 loss.adversarial_from=30 \
        discriminator.learning_rate=2.0e-4
    once first "$PYTHON" benchmarks/interpolation.py "$RUNS/x4plus" "$RUNS/enlarger-1/model" \
        --weight 0.4 --photos 1 --save "$RUNS/first"

    train enlarger enlarger-2 620 "start=$RUNS/first"

    # the third goes on where the second ended, with its discriminators, optimiser and averages
    # shellcheck disable=SC2016 # read by the inner shell
    once enlarger-3-start sh -c 'mkdir -p "$2" && cp -R "$1/checkpoints" "$2/"' sh "$RUNS/enlarger-2" "$RUNS/enlarger-3"
    train enlarger enlarger-3 1400 "start=$RUNS/first" learning_rate=8.0e-5 loss.adversarial_pixels=0.35 ema_decay=0.995
    once enlarger "$PYTHON" benchmarks/interpolation.py "$RUNS/first" "$RUNS/enlarger-3/model" \
        --weight 0.5 --photos 1 --save "$RUNS/enlarger"
}

# 2. The engine `quick`: the enlarger at its usual detail with four of its blocks, trained further.
quick() {
    once quick-middle "$PYTHON" benchmarks/interpolation.py "$RUNS/x4plus" "$RUNS/enlarger" \
        --weight 0.6 --photos 1 --save "$RUNS/quick-middle"
    once quick-start "$PYTHON" training/prune_enlarger.py "$RUNS/quick-middle" "$RUNS/quick-start" --keep 0 1 12 22
    config=quick
    train enlarger quick 2500 "start=$RUNS/quick-start" batch_size=4 threads=2
    # the calm end of its dial: what the large one paints, learned without discriminators
    train enlarger quick-calm 1700 "start=$RUNS/quick/model" "teacher=$RUNS/quick-middle" batch_size=2 threads=2 \
        learning_rate=1.0e-4 'loss={l1: 1.0, flat: 20.0, dists: 1.0, features: 1.0, adversarial: 0, adversarial_pixels: 0}'
    config=
}

# 3. The tagger: EfficientNet-Lite2's classes as plain words, 15 tags of scenes, then DAPE.
tagger() {
    nouns=${NOUNS:-$RUNS/wordnet/usr/share/wordnet/data.noun} # of WordNet 3.0; by default out of Debian's package
    if [ -z "${NOUNS:-}" ]; then
        # shellcheck disable=SC2016
        once wordnet sh -c 'mkdir -p "$1" && cd "$1" &&
            apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb .' sh "$RUNS/wordnet"
    fi
    once tagger-plain "$PYTHON" -m seesr.training.vocabulary \
        configs/mini/tags.yaml "$nouns" "$PHOTOS/tags-0000.tar" "$RUNS/tagger-plain"
    once scenes "$PYTHON" -m seesr.training.scenes configs/mini/scenes.yaml "$RUNS/tagger-plain" \
        "$PHOTOS/train-0000.tar" "$PHOTOS/train-0001.tar" "$PHOTOS/train-0002.tar" \
        "$PHOTOS/train-0003.tar" "$PHOTOS/train-0004.tar"
    train dape tagger 200 "model=$RUNS/tagger-plain"
}

# 4. The autoencoder, from nothing.
autoencoder() {
    train autoencoder autoencoder 3000
}

# 5. The diffusion part, from nothing: once without words, then with a text tower that was taught first, three times on.
diffusion() {
    parts="enlarger=$RUNS/enlarger vae=$RUNS/autoencoder/model tagger=$RUNS/tagger/model"
    text="text=$RUNS/text/model"
    mixture='degradation={camera: 0.35, mild: 0.30, real-esrgan: 0.35}'
    squares='crop=192 size=24 scale_jitter=0.4 validation_samples=128'

    # shellcheck disable=SC2086 # $parts and $squares are several words
    train prior prior-1 3400 $parts
    train text text 200 "tagger=$RUNS/tagger/model" "latents=$RUNS/prior-1/latents-train-*.safetensors" \
        "validation_latents=$RUNS/prior-1/latents-validation-*.safetensors"
    # shellcheck disable=SC2086
    train prior prior-2 1800 $parts "start=$RUNS/prior-1/model" "$text" samples=3200 $squares "$mixture" \
        drop_text=0.25 drop_conditions=0.4 drop_embedding=0.25 warmup_steps=50 validate_steps=200
    # shellcheck disable=SC2086
    train prior prior-3 3200 $parts "start=$RUNS/prior-2/model" "$text" samples=3200 $squares "$mixture" \
        drop_text=0.25 drop_conditions=0.3 drop_embedding=0.2 warmup_steps=50 validate_steps=400

    half=$RUNS/tags-learn.tar # half of the labelled pictures; the others are held out for measuring
    once halves "$PYTHON" training/halves.py "$PHOTOS/tags-0000.tar" "$half" "$RUNS/tags-held.tar"
    # shellcheck disable=SC2086
    train prior prior-4 5200 $parts "start=$RUNS/prior-3/model" "$text" samples=4800 $squares "$mixture" \
        "photos=[$PHOTOS/train-*.tar, $half, $half, $half]" small_photos=skip drop_tags=0.3 \
        drop_text=0.25 drop_conditions=0.3 drop_embedding=0.2 warmup_steps=50 validate_steps=400
}

# 6. Into the package, in place of the weights that are there, as 8-bit integers.
pack() {
    run "$PYTHON" training/pack_mini.py "$RUNS/prior-4/model" --calm "$RUNS/x4plus"
    run "$PYTHON" training/pack_quick.py "$RUNS/quick/model" --calm "$RUNS/quick-calm/model"
}

if [ "${1:-}" = --dry-run ]; then
    dry=yes
    shift
fi
for step in "${@:-all}"; do
    case $step in
        all)
            enlarger
            quick
            tagger
            autoencoder
            diffusion
            ;;
        enlarger | quick | tagger | autoencoder | diffusion | pack) "$step" ;;
        *) echo "no step '$step'; there are enlarger, quick, tagger, autoencoder, diffusion and pack" >&2 && exit 2 ;;
    esac
done

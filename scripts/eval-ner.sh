#!/usr/bin/env bash
# Scores a tagger that train-ner.sh trained on dev.txt and test.txt; MODEL may be one of its checkpoints.

PURPOSE="Score \$MODEL (e.g. engeval-model/checkpoint-3550) on \$DATA_DIR/{dev,test}.txt."
SETTINGS="DATA_DIR MODEL OUTPUT_DIR PYTHON"
DATA_DIR=${DATA_DIR:-data}
MODEL=${MODEL:-engeval-model}
OUTPUT_DIR=${OUTPUT_DIR:-eval-$(basename "$MODEL")}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

read_flags "$@"

if [ ! -d "$MODEL" ]; then
    refuse "there is no model folder $MODEL; train it by train-ner.sh, or set MODEL to another folder"
fi

# The folder holds nothing but scores, and the model may have changed since they were made: overwrite them.
run_python run_ner.py \
    --data_dir "$DATA_DIR" \
    --model_name_or_path "$MODEL" \
    --output_dir "$OUTPUT_DIR" \
    --overwrite_output_dir \
    --max_seq_length 180 \
    --seed 1 \
    --do_eval \
    --do_predict

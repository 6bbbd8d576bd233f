#!/usr/bin/env bash
# Goes on training a RoBERTa as a masked language model on raw text.

PURPOSE="Go on training \$MODEL_NAME_OR_PATH as a masked language model on \$TRAIN_FILE."
SETTINGS="TRAIN_FILE TEST_FILE MODEL_NAME_OR_PATH OUTPUT_DIR PYTHON"
TRAIN_FILE=${TRAIN_FILE:-wikitext-2-raw/wiki.train.raw}
TEST_FILE=${TEST_FILE:-wikitext-2-raw/wiki.test.raw}
MODEL_NAME_OR_PATH=${MODEL_NAME_OR_PATH:-./roberta-base}
OUTPUT_DIR=${OUTPUT_DIR:-./output}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

read_flags "$@"

run_python run_language_modeling.py \
    --output_dir "$OUTPUT_DIR" \
    --model_type roberta \
    --model_name_or_path "$MODEL_NAME_OR_PATH" \
    --do_train \
    --train_data_file "$TRAIN_FILE" \
    --do_eval \
    --eval_data_file "$TEST_FILE" \
    --mlm

#!/usr/bin/env bash
# Trains a byte-level tokenizer on Korean text, then a RoBERTa from scratch. `split.py` makes the two files of the text.

PURPOSE="Train a tokenizer on \$DATA_DIR/*.\$FILE_SUFFIX into \$CONFIG_DIR, then a RoBERTa from scratch on \$TRAIN_FILE."
SETTINGS="DATA_DIR FILE_SUFFIX VOCAB_SIZE MIN_FREQUENCY TRAIN_FILE EVAL_FILE CONFIG_DIR OUTPUT_DIR PYTHON"
DATA_DIR=${DATA_DIR:-korean}
FILE_SUFFIX=${FILE_SUFFIX:-txt}
VOCAB_SIZE=${VOCAB_SIZE:-50265}
MIN_FREQUENCY=${MIN_FREQUENCY:-4}
TRAIN_FILE=${TRAIN_FILE:-$DATA_DIR/data.txt.train}
EVAL_FILE=${EVAL_FILE:-$DATA_DIR/data.txt.valid}
CONFIG_DIR=${CONFIG_DIR:-config-kor-roberta-base}
OUTPUT_DIR=${OUTPUT_DIR:-kor-roberta-base.v1}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/roberta_from_scratch.sh
source "$(dirname "${BASH_SOURCE[0]}")/roberta_from_scratch.sh"

MORE_FLAGS=(--num_train_epochs 500)
train_roberta kor-roberta-base "$@"

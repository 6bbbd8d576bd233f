#!/usr/bin/env bash
# Trains a byte-level tokenizer on raw text, then a RoBERTa from scratch.

PURPOSE="Train a tokenizer on \$DATA_DIR/*.\$FILE_SUFFIX into \$CONFIG_DIR, then a RoBERTa from scratch on \$TRAIN_FILE."
SETTINGS="DATA_DIR FILE_SUFFIX VOCAB_SIZE MIN_FREQUENCY TRAIN_FILE EVAL_FILE CONFIG_DIR OUTPUT_DIR PYTHON"
DATA_DIR=${DATA_DIR:-wikitext-2-raw}
FILE_SUFFIX=${FILE_SUFFIX:-raw}
VOCAB_SIZE=${VOCAB_SIZE:-50265}
MIN_FREQUENCY=${MIN_FREQUENCY:-2}
TRAIN_FILE=${TRAIN_FILE:-$DATA_DIR/wiki.train.raw}
EVAL_FILE=${EVAL_FILE:-$DATA_DIR/wiki.test.raw}
CONFIG_DIR=${CONFIG_DIR:-config-roberta-base}
OUTPUT_DIR=${OUTPUT_DIR:-roberta-base.v1}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/roberta_from_scratch.sh
source "$(dirname "${BASH_SOURCE[0]}")/roberta_from_scratch.sh"

train_roberta roberta-base "$@"

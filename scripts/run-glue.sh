#!/usr/bin/env bash
# Trains and scores a classifier on one GLUE task, by today's names.

PURPOSE="Train, validate and predict the GLUE task \$TASK_NAME with run_glue.py."
SETTINGS="TASK_NAME MODEL DATA_DIR OUTPUT_DIR PYTHON"
TASK_NAME=${TASK_NAME:-sst2}
MODEL=${MODEL:-bert-base-uncased}
DATA_DIR=${DATA_DIR:-}
OUTPUT_DIR=${OUTPUT_DIR:-wdir/$TASK_NAME}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

read_flags "$@"

if [ -n "$DATA_DIR" ] && [ ! -d "$DATA_DIR" ]; then
    refuse "there is no folder $DATA_DIR; set DATA_DIR to the task's folder or the one above it, or unset it for the hub"
fi

run_python run_glue.py \
    --model_name_or_path "$MODEL" \
    --task_name "$TASK_NAME" \
    ${DATA_DIR:+--data_dir "$DATA_DIR"} \
    --do_train \
    --do_eval \
    --do_predict \
    --max_seq_length 128 \
    --per_device_train_batch_size 32 \
    --per_device_eval_batch_size 64 \
    --learning_rate 2e-5 \
    --num_train_epochs 3 \
    --output_dir "$OUTPUT_DIR"

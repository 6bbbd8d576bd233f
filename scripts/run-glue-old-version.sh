#!/usr/bin/env bash
# Trains and scores a classifier on one GLUE task from its downloaded files, by the names of transformers 2.

PURPOSE="Train and validate the GLUE task \$TASK_NAME on the files of \$GLUE_DIR/\$TASK_NAME with run_glue.py."
SETTINGS="GLUE_DIR TASK_NAME MODEL OUTPUT_DIR PYTHON"
GLUE_DIR=${GLUE_DIR:-glue_data}
TASK_NAME=${TASK_NAME:-SST-2}
MODEL=${MODEL:-bert-base-uncased}
OUTPUT_DIR=${OUTPUT_DIR:-wdir/$TASK_NAME}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

read_flags "$@"

if [ ! -d "$GLUE_DIR/$TASK_NAME" ]; then
    refuse "there is no folder $GLUE_DIR/$TASK_NAME; run download_glue_data.py, or set GLUE_DIR to the folder of GLUE"
fi

run_python run_glue.py \
    --model_name_or_path "$MODEL" \
    --task_name "$TASK_NAME" \
    --do_train \
    --do_eval \
    --data_dir "$GLUE_DIR/$TASK_NAME" \
    --max_seq_length 128 \
    --per_gpu_train_batch_size 32 \
    --per_gpu_eval_batch_size 64 \
    --learning_rate 2e-5 \
    --num_train_epochs 10 \
    --output_dir "$OUTPUT_DIR"

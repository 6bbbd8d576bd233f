# Sourced by the wrappers that distil: the chain of four commands that they share. A step whose result is there, made from the
# same text and teacher, is left out.

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

# is_needed RESULT ORIGIN: whether a step has to run: its result is missing, or was made from something else. Beside each
# result lies a file `RESULT.made` with its origin; a result without one is kept, unless it says itself what it holds.
is_needed() {
    if [ ! -e "$1" ]; then return 0; fi
    if [ -f "$1.made" ] && [ "$(cat "$1.made")" != "$2" ] || ! holds_text "$1"; then
        echo "$1 was made from something else than is given now; it is made anew." >&2
        return 0
    fi
    echo "$1 is there and is kept; remove it to make it anew." >&2
    return 1
}

# Whether a folder of ids was made from the text of TRAIN_FILE, as far as that can be told: it keeps the sha256.
holds_text() {
    if [ ! -f "$1/store.json" ] || [ ! -f "$TRAIN_FILE" ]; then return 0; fi
    grep -q "$(fingerprint "$TRAIN_FILE")" "$1/store.json"
}

# What a file or a folder of the teacher is, for the origin of what is made from it; a name of the hub is its own.
origin_of() {
    local files
    files=$(find "$1" -maxdepth 1 -type f \( -name 'config.json' -o -name 'tokenizer*' -o -name 'vocab*' -o -name '*.safetensors' \
        -o -name '*.bin' \) 2>/dev/null | LC_ALL=C sort || true)
    if [ -f "$1" ]; then files=$1; fi
    echo "$1"
    # shellcheck disable=SC2086 # the files are several words
    if [ -n "$files" ]; then (IFS=$'\n'; fingerprint $files); fi
}

distil() {
    read_flags "$@"
    local given=(${FURTHER[@]+"${FURTHER[@]}"}) name status=0 text teacher again=()
    name=$(basename "$TEACHER")
    local data=$WORK_DIR/dump.$name counts=$WORK_DIR/token_counts.$name.json weights=$WORK_DIR/student.$name.safetensors
    # shellcheck disable=SC2206 # layers are several words
    local layers=(${LAYERS:+--layers $LAYERS})
    local binarize=(distillation/scripts/binarized_data.py --file_path "$TRAIN_FILE" --tokenizer_type "$TEACHER_TYPE"
        --tokenizer_name "$TEACHER" --dump_file "$WORK_DIR/dump")
    local count=(distillation/scripts/token_counts.py --data_file "$data" --token_counts_dump "$counts"
        --vocab_size "$VOCAB_SIZE")
    local extract=(distillation/scripts/extract_distilbert.py --model_type "$TEACHER_TYPE" --model_name "$TEACHER"
        --dump_checkpoint "$weights" --vocab_transform ${layers[@]+"${layers[@]}"})
    local train=(distillation/train.py --student_type distilbert --student_config "$STUDENT_CONFIG"
        --vocab_size "$VOCAB_SIZE" --student_pretrained_weights "$weights"
        --teacher_type "$TEACHER_TYPE" --teacher_name "$TEACHER"
        --alpha_ce 5.0 --alpha_mlm 2.0 --alpha_cos 1.0 --alpha_clm 0.0 --mlm --freeze_pos_embs
        --dump_path "$OUTPUT_DIR" --data_file "$data" --token_counts "$counts" --batch_size "$BATCH_SIZE"
        --export "$EXPORT_DIR")

    # A flag that a later step refuses would otherwise be told after hours of the earlier ones.
    judge_flags "${train[@]}" || status=$?
    FURTHER=()
    judge_flags "${binarize[@]}" || status=$?
    judge_flags "${count[@]}" || status=$?
    judge_flags "${extract[@]}" || status=$?
    if [ "$status" -ne 0 ]; then return "$status"; fi

    text=$(origin_of "$TRAIN_FILE") teacher=$(origin_of "$TEACHER")
    if is_needed "$data" "$text $teacher"; then
        if [ -e "$data" ]; then again=(--overwrite); fi
        run_step "$data" "$text $teacher" "${binarize[@]}" ${again[@]+"${again[@]}"}
    fi
    if is_needed "$counts" "$text $teacher $VOCAB_SIZE"; then
        run_step "$counts" "$text $teacher $VOCAB_SIZE" "${count[@]}"
    fi
    if is_needed "$weights" "$teacher $LAYERS"; then
        run_step "$weights" "$teacher $LAYERS" "${extract[@]}"
    fi
    FURTHER=(${given[@]+"${given[@]}"})
    run_python "${train[@]}"
}

# run_step RESULT ORIGIN SCRIPT FLAG...: runs a step and writes down what its result was made from.
run_step() {
    local result=$1 origin=$2
    shift 2
    run_python "$@"
    if [ "$DRY_RUN" -eq 0 ]; then echo "$origin" > "$result.made"; fi
}

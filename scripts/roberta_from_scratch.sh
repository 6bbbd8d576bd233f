# Sourced by train-roberta.sh and train-kor-roberta.sh, which set the variables named in SETTINGS.

# shellcheck source=scripts/wrapper.sh
source "$(dirname "${BASH_SOURCE[0]}")/wrapper.sh"

# A configuration and a byte-level tokenizer in $CONFIG_DIR; what is there is kept, so that a second start goes on.
prepare_config_folder() {
    local architecture=$1 FURTHER=() # further flags are for the training of the model
    if [ -f "$CONFIG_DIR/vocab.json" ] && [ -f "$CONFIG_DIR/merges.txt" ]; then
        echo "$CONFIG_DIR has a tokenizer already, which is kept." >&2
    else
        local tokenizer=(
            train-roberta-tokenizer.py
            --data_dir "$DATA_DIR"
            --file_suffix "$FILE_SUFFIX"
            --vocab_size "$VOCAB_SIZE"
            --min_frequency "$MIN_FREQUENCY"
            --tokenizer_name ByteLevelBPETokenizer
            --output_dir "$CONFIG_DIR"
            --overwrite_output_file
        )
        judge_flags "${tokenizer[@]}" || return $?
        run_python "${tokenizer[@]}"
        if [ "$DRY_RUN" -eq 0 ]; then
            mv "$CONFIG_DIR/ByteLevelBPETokenizer-vocab.json" "$CONFIG_DIR/vocab.json"
            mv "$CONFIG_DIR/ByteLevelBPETokenizer-merges.txt" "$CONFIG_DIR/merges.txt"
            rm -f "$CONFIG_DIR/ByteLevelBPETokenizer-vocab.json.run.json"  # the record of files that are gone now
        fi
    fi
    if [ ! -f "$CONFIG_DIR/config.json" ] && [ "$DRY_RUN" -eq 0 ]; then
        cp "$(find_config "$architecture")" "$CONFIG_DIR/config.json"
    fi
}

# train_roberta ARCHITECTURE FLAG...: ARCHITECTURE is a file of configs/. MORE_FLAGS may hold flags before the caller's.
train_roberta() {
    local architecture=$1
    shift
    read_flags "$@"
    if [ ! -f "$TRAIN_FILE" ]; then
        refuse "there is no $TRAIN_FILE; put it there, or set TRAIN_FILE"
    fi
    local train=(
        run_language_modeling.py
        --output_dir "$OUTPUT_DIR"
        --model_type roberta
        --do_train
        --train_data_file "$TRAIN_FILE"
        --do_eval
        --eval_data_file "$EVAL_FILE"
        --mlm
        --config_name "$CONFIG_DIR"
        --tokenizer_name "$CONFIG_DIR"
        --learning_rate 5e-5
        --weight_decay 0.01
        --max_steps 1000000
        --warmup_steps 10000
        --save_total_limit 2
        --save_steps 2000
        --eval_strategy steps
        --eval_steps 2000
        --per_device_train_batch_size 16
        --seed 42
        ${MORE_FLAGS[@]+"${MORE_FLAGS[@]}"}
    )
    # Its flags are judged before the tokenizer is trained, which takes a while.
    judge_flags "${train[@]}" || return $?
    prepare_config_folder "$architecture"
    run_python "${train[@]}"
}

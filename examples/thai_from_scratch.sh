#!/usr/bin/env bash
# From raw Thai text to a tagger: a tokenizer, a small RoBERTa trained with it from scratch, a named-entity tagger.
#
#     examples/thai_from_scratch.sh            # about ten minutes on two cores
#     TEXT=my/text STEPS=100000 SIZES=hidden_size=768,num_hidden_layers=12 examples/thai_from_scratch.sh
#
# The text, unless TEXT names another folder of *.txt, is Thai Wikipedia, tweets, and the sentences (not the labels) of
# ThaiNER's training split; no line that ThaiNER holds out for validation or test is among it. The same model with weights
# that have learnt nothing is fine-tuned beside it, with the same seeds and rows; the last epoch counts, nothing is chosen,
# and test is scored once. At the end the gain is checked: below MARGIN on average, or a loss with any seed, and the exit
# code is 1. Killed, the same command goes on; OUTPUT_DIR of other settings must be another one.
#
# Ten minutes are little: do not expect the figures of a model that has read more. Nor did this amount of text do for a
# vocabulary of 19,000 words (TOKENIZER=newmm) when it was tried: most of them are so rare that all their embeddings learn is
# to be unlikely, and the tagger gained next to nothing.

PURPOSE="Train a tokenizer and a small RoBERTa on raw Thai text, then taggers of named entities; beside the same without
pretraining. Further flags go to the taggers."
SETTINGS="DATA_DIR TEXT TOKENIZER VOCABULARY SIZES MAX_SEQ_LENGTH STEPS BATCH_SIZE EPOCHS SEEDS MARGIN OUTPUT_DIR PYTHON"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DATA_DIR=${DATA_DIR:-$HERE/../../shared/data} # with thainer/, and for the text lm/ and wisesight_sentiment/
TEXT=${TEXT:-}
TOKENIZER=${TOKENIZER:-spm}                   # or newmm, syllable
VOCABULARY=${VOCABULARY:-4000}                # entries
SIZES=${SIZES:-hidden_size=128,num_hidden_layers=2,num_attention_heads=4,intermediate_size=512}
MAX_SEQ_LENGTH=${MAX_SEQ_LENGTH:-128}
STEPS=${STEPS:-3000}
BATCH_SIZE=${BATCH_SIZE:-32}
EPOCHS=${EPOCHS:-3}
SEEDS=${SEEDS:-1 2 3}
MARGIN=${MARGIN:-0.05}                        # of test F1, on average over the seeds; set before the first run
OUTPUT_DIR=${OUTPUT_DIR:-outputs/thai}
PYTHON=${PYTHON:-}

# shellcheck source=scripts/wrapper.sh
source "$HERE/../scripts/wrapper.sh"

# step NAME WORD...: one of thai_steps.py.
step() {
    if [ "$DRY_RUN" -eq 0 ]; then "$(find_python)" "$HERE/thai_steps.py" "$@"; fi
}

# Sets TEXT to the raw text, written once.
make_text() {
    TEXT=$OUTPUT_DIR/text
    if [ -d "$TEXT" ] || [ "$DRY_RUN" -eq 1 ]; then return 0; fi
    step texts "$DATA_DIR" "$TEXT.$$"
    mv "$TEXT.$$" "$TEXT"
}

# tag NAME SEED MODEL: a tagger in OUTPUT_DIR/NAME-SEED.
tag() {
    run_python downstream/train_token_classification_lm_finetuning.py --model_name_or_path "$3" \
        --dataset_name thainer --data_dir "$DATA_DIR/thainer" --label_name ner_tags --max_length "$MAX_SEQ_LENGTH" \
        --num_train_epochs "$EPOCHS" --learning_rate 1e-3 --warmup_steps 0.1 --per_device_train_batch_size 32 \
        --per_device_eval_batch_size 64 --eval_strategy no --load_best_model_at_end False --no_train_report \
        --seed "$2" --output_dir "$OUTPUT_DIR/$1-$2" --do_train --do_eval
}

# folders NAME: where the taggers are.
folders() {
    local seed
    for seed in $SEEDS; do echo "$OUTPUT_DIR/$1-$seed"; done
}

read_flags "$@"
given=(${FURTHER[@]+"${FURTHER[@]}"})
FURTHER=()
vocabulary=$OUTPUT_DIR/tokenizer/$TOKENIZER.json
if [ "$TOKENIZER" = spm ]; then vocabulary=$OUTPUT_DIR/tokenizer/sentencepiece.bpe.model; fi
model=$OUTPUT_DIR/language-model
if [ -z "$TEXT" ]; then make_text; fi
if [ ! -f "$vocabulary" ]; then
    run_python train_tokenizer.py --ext txt --train_dir "$TEXT" --output_file "$vocabulary" \
        --pre_tokenizer_type "$TOKENIZER" --vocab_size "$VOCABULARY"
fi
run_python run_mlm.py --architecture roberta-small --config_overrides "$SIZES" --tokenizer_type "$TOKENIZER" \
    --tokenizer_name_or_path "$vocabulary" --ext txt --train_dir "$TEXT" --max_seq_length "$MAX_SEQ_LENGTH" \
    --datasets_type MemmapConcatFullSentenceTextDataset --datasets_cache_dir "$OUTPUT_DIR/cache" \
    --validation_split_percentage 1 --max_steps "$STEPS" --per_device_train_batch_size "$BATCH_SIZE" \
    --per_device_eval_batch_size "$BATCH_SIZE" --learning_rate 1e-3 --warmup_steps 0.1 --weight_decay 0.01 \
    --adam_beta2 0.98 --mlm_probability 0.25 --logging_steps 200 --save_steps 1000 --eval_strategy no \
    --load_best_model_at_end False --output_dir "$model" --do_train --do_eval
FURTHER=(${given[@]+"${given[@]}"})
for seed in $SEEDS; do
    if [ ! -d "$OUTPUT_DIR/untrained-$seed" ]; then step untrained "$model" "$OUTPUT_DIR/untrained-$seed" --seed "$seed"; fi
    tag plain "$seed" "$OUTPUT_DIR/untrained-$seed"
    tag pretrained "$seed" "$model"
done
if [ "$DRY_RUN" -eq 0 ]; then
    # shellcheck disable=SC2046 # one word a folder
    step check $(folders plain) --pretrained $(folders pretrained) --margin "$MARGIN"
fi

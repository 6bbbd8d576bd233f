"""Guess a masked word with BERT: a text's subwords, their ids, the model's best guess. Runs on any device.

    python examples/example1.py
    python examples/example1.py --model_name_or_path bert-base-uncased --text "[CLS] To be or not to be. [SEP]"

Any folder or hub name of a BERT with a head for masked words will do.
"""

from __future__ import annotations

from fill_mask import fill_one_mask, parse_arguments
from transformers import AutoTokenizer, BertForMaskedLM


def main() -> None:
    arguments = parse_arguments(__doc__, default="bert-base-multilingual-cased")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model_name_or_path)
    model = BertForMaskedLM.from_pretrained(arguments.model_name_or_path)
    fill_one_mask(tokenizer, model, arguments.text, arguments.masked_index)


if __name__ == "__main__":
    main()

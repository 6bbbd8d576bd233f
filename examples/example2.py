"""Guess a masked word with the generator of an ELECTRA (its discriminator has no head for words). Runs on any device.

    python examples/example2.py
    python examples/example2.py --model_name_or_path google/electra-base-generator --text "[CLS] To be or not to be. [SEP]"

Any folder or hub name of an ELECTRA generator will do.
"""

from __future__ import annotations

from fill_mask import fill_one_mask, parse_arguments
from transformers import AutoTokenizer, ElectraForMaskedLM


def main() -> None:
    arguments = parse_arguments(__doc__, default="monologg/koelectra-base-generator")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model_name_or_path)
    model = ElectraForMaskedLM.from_pretrained(arguments.model_name_or_path)
    fill_one_mask(tokenizer, model, arguments.text, arguments.masked_index)


if __name__ == "__main__":
    main()

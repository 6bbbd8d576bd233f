"""Show a tokenizer: the size of its vocabulary, and the subwords of a mixed text, word by word.

    python examples/example3.py --model_name_or_path roberta-base
    python examples/example3.py --model_type bert --model_name_or_path bert-base-uncased --do_lower_case

Any folder or hub name of a tokenizer of that type will do; `--model_type auto` finds the type.
"""

from __future__ import annotations

import argparse

from transformers import AlbertTokenizer, AutoTokenizer, BertTokenizer, RobertaTokenizer

SAMPLE = "나는 학교에 간다. i wanna go out. 저항하는 개막전 호랑이가"
TOKENIZERS = {"auto": AutoTokenizer, "bert": BertTokenizer, "albert": AlbertTokenizer, "roberta": RobertaTokenizer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_type", choices=TOKENIZERS, default="roberta")
    parser.add_argument("--model_name_or_path", default="roberta-base", help="a folder or a hub name")
    parser.add_argument("--do_lower_case", action="store_true", help="lower-case the text, as uncased models need it")
    parser.add_argument("--text", default=SAMPLE)
    arguments = parser.parse_args()
    tokenizer = TOKENIZERS[arguments.model_type].from_pretrained(arguments.model_name_or_path)
    print("vocab_size: ", tokenizer.vocab_size)
    text = arguments.text.lower() if arguments.do_lower_case else arguments.text
    print(" ".join(subword for word in text.split() for subword in tokenizer.tokenize(word)))


if __name__ == "__main__":
    main()

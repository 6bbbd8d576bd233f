"""What example1.py and example2.py share: masking one subword of a text and guessing it."""

from __future__ import annotations

import argparse
from typing import Any

import torch

TEXT = "[CLS] 죽느냐 사느냐 그것이 문제로다. [SEP]"


def parse_arguments(description: str, *, default: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_name_or_path", default=default, help="a folder or a hub name")
    parser.add_argument("--text", default=TEXT, help="with its special tokens")
    parser.add_argument("--masked_index", type=int, default=5, help="which subword to guess, from 0")
    return parser.parse_args()


def fill_one_mask(tokenizer: Any, model: Any, text: str, masked_index: int) -> str:
    """Print the subwords of a text, the same with one masked, their ids, and the model's guess; returns the guess."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    subwords = tokenizer.tokenize(text)
    print(subwords)
    if not 0 <= masked_index < len(subwords):
        raise SystemExit(f"--masked_index {masked_index} is no subword; 0 to {len(subwords) - 1} are")
    subwords[masked_index] = tokenizer.mask_token
    print(subwords)
    ids = tokenizer.convert_tokens_to_ids(subwords)
    types = [0] * len(ids)
    print(ids)
    print(types)
    model = model.eval().to(device)
    with torch.no_grad():
        logits = model(torch.tensor([ids], device=device), token_type_ids=torch.tensor([types], device=device)).logits
    guess = tokenizer.convert_ids_to_tokens([int(logits[0, masked_index].argmax())])[0]
    print(f"{tokenizer.mask_token} => {guess}")
    return guess

"""What `finetune serve` is asked for: where it listens, what it lets in, how it computes."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.arguments.prediction import AnswerArguments

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass
class ServeArguments:
    """Service."""

    run: str = argument(metavar="RUN", help="folder of a trained tagger or classifier, exported ones too")
    host: str = argument(
        "127.0.0.1", metavar="ADDRESS", help="where to listen; 0.0.0.0 lets every machine in that reaches this one"
    )
    port: int = argument(8000, minimum=0, maximum=65535, help="0 takes any that is free")
    max_body: int = argument(1_048_576, minimum=64, metavar="BYTES", help="longest request body")
    max_texts: int = argument(256, minimum=1, help="texts in a request")
    max_tokens: int = argument(4096, minimum=1, help="subword tokens in a text")
    max_waiting: int = argument(512, minimum=1, help="requests at once; further ones are told to come again (429)")
    timeout: float = argument(30.0, minimum=0.1, metavar="SECONDS", help="longest time a request takes")
    batch_tokens: int = argument(
        8192, minimum=1, help="subword tokens of waiting requests that are computed at once, at least one text"
    )


@dataclass
class ServedModelArguments(AnswerArguments):
    """Model."""

    tokenizer_type: str = argument("AutoTokenizer", metavar="TYPE", help="as in training, where it was given there")


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which no other machine reaches."""
    return host in LOOPBACK or host.startswith("127.")

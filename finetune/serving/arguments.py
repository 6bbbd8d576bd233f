"""What `finetune serve` is asked for: where it listens, what it lets in, how it computes."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.arguments.prediction import SEGMENTERS

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
class ServedModelArguments:
    """Model."""

    batch_size: int = argument(32, minimum=1, help="windows or texts in a batch; more where they are short")
    max_length: int | None = argument(
        None,
        minimum=4,
        aliases=("max_seq_length",),
        help="subwords at once; without it what the model was trained with",
    )
    word_segmenter: str | None = argument(
        None, choices=SEGMENTERS, help="how a tagger finds words in raw text; without it as in training"
    )
    constrained_decoding: bool | None = argument(
        None, help="forbid ill-formed tag sequences; without it as the model was trained"
    )
    tokenizer_type: str = argument("AutoTokenizer", metavar="TYPE", help="as in training, where it was given there")
    device: str = argument("auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N")
    bf16: bool | None = argument(None, help="compute in bfloat16; without it where the hardware does so natively")
    no_unpad: bool = argument(False, help="let the encoder compute padding, too")
    no_native: bool = argument(False, help="let torch compute an encoder's layers on a CPU one by one")


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which no other machine reaches."""
    return host in LOOPBACK or host.startswith("127.")

"""When Python looks for garbage: rarely while a command imports and reads, as usual in training.

Importing torch and transformers makes a million objects that stay, through which Python's own setting looks some hundred
times: a tenth of the processor time of a short run. Training goes back to it, since its objects hold tensors.
"""

from __future__ import annotations

import gc

RARELY = (
    50_000,
    10,
    10,
)  # objects made and not given back until the youngest are looked through, and how often the others
USUALLY = gc.get_threshold()


def collect_rarely() -> None:
    gc.set_threshold(*RARELY)


def collect_as_usual() -> None:
    gc.set_threshold(*USUALLY)

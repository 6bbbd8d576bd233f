"""Callbacks for models that are encoder and decoder in one (GPT-BERT, Charpentier & Samuel 2024): which one they are now.

Such a model reads `config.is_decoder` at each call: as a decoder it sees only what is to the left. Preprocessing by
`identity_if_decoder_mask_if_encoder` follows.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase


class ModeCallback:
    """Sets the mode of a model. Called with (epoch, batch)."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        del tokenizer
        self.model = model

    def set_decoder(self, is_decoder: bool) -> None:
        """Every part of the model that has a configuration of its own follows."""
        for module in self.model.modules():
            config = getattr(module, "config", None)
            if hasattr(config, "is_decoder"):
                config.is_decoder = is_decoder  # type: ignore[union-attr]
            for name in ("is_decoder", "is_causal"):
                if isinstance(getattr(module, name, None), bool):
                    setattr(module, name, is_decoder)


class SetEncoderModeCallback(ModeCallback):
    """From now on an encoder."""

    def __call__(self, epoch: int, batch: Any) -> None:
        del epoch, batch
        self.set_decoder(False)


class SetDecoderModeCallback(ModeCallback):
    """From now on a decoder."""

    def __call__(self, epoch: int, batch: Any) -> None:
        del epoch, batch
        self.set_decoder(True)


class SwitchEncoderDecoderModesCallback(ModeCallback):
    """By turns: what the model is not."""

    def __call__(self, epoch: int, batch: Any) -> None:
        del epoch, batch
        self.set_decoder(not self.model.config.is_decoder)


class SwitchEncoderDecoderModesToOppositeOfWhenLastCalledCallback(ModeCallback):
    """What the model was not when this callback was called last, whatever others made of it since."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model, tokenizer)
        self.last: bool | None = None

    def __call__(self, epoch: int, batch: Any) -> None:
        del epoch, batch
        before = self.model.config.is_decoder if self.last is None else self.last
        self.last = not before
        self.set_decoder(self.last)

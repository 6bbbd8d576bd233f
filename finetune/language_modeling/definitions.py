"""What each language-model command is: its objective, its lengths, how it packs text."""

from __future__ import annotations

from collections.abc import Callable

from finetune.arguments.parser import Arguments
from finetune.data.documents import Boundary
from finetune.encoding.corpus import CorpusSettings, Packing, Template
from finetune.encoding.documents import DocumentRules, TextUnit
from finetune.encoding.lines import LineRules
from finetune.language_modeling.arguments import CausalArguments, MaskingArguments, ObjectiveArguments, TextArguments
from finetune.language_modeling.task import SPACE_TOKEN, Objective, TaskDefinition


def define_masked(arguments: Arguments) -> TaskDefinition:
    """Lines, whole lines as many as fit, or one stream with special tokens around each line, as run_mlm.py has it."""
    asked, text = arguments[MaskingArguments], arguments[TextArguments]
    packing = Packing.STREAM
    if asked.lines_are_examples:
        packing = Packing.LINES
    elif asked.lines_are_kept_whole:
        packing = Packing.SENTENCES

    def settings(max_length: int) -> CorpusSettings:
        return CorpusSettings(
            packing=packing,
            max_length=max_length,
            rules=LineRules(lowercase=text.lowercase, space_token=SPACE_TOKEN if text.add_space_token else None),
            column=text.text_column_name,
            within_documents=asked.within_documents,
            keep_flags=asked.whole_word_mask,
            find_words=asked.whole_word_mask,
        )

    return _masked(asked, settings)


def _masked(asked: MaskingArguments, settings: Callable[[int], CorpusSettings]) -> TaskDefinition:
    return TaskDefinition(
        objective=Objective.MASKED,
        length=asked.length,
        length_flag="--max_seq_length",
        settings=settings,
        probability=asked.mlm_probability,
        whole_words=asked.whole_word_mask,
        pad_to_max_length=asked.pad_to_max_length,
        references={"train": asked.train_ref_file, "validation": asked.validation_ref_file},
    )


def define_causal(arguments: Arguments) -> TaskDefinition:
    """The text as one stream cut into blocks, none of it lost; documents apart on request."""
    asked, text = arguments[CausalArguments], arguments[TextArguments]
    rules = _causal_rules(asked, text)

    def settings(max_length: int) -> CorpusSettings:
        return CorpusSettings(
            packing=Packing.STREAM,
            max_length=max_length,
            documents=rules,
            column=text.text_column_name,
            template=Template.NOTHING,
            keep_flags=asked.document_attention,
        )

    return TaskDefinition(
        Objective.CAUSAL, asked.block_size, "--block_size", settings, documents_apart=asked.document_attention
    )


def _causal_rules(asked: CausalArguments, text: TextArguments) -> DocumentRules:
    apart = asked.document_attention
    return DocumentRules(
        unit=TextUnit(asked.text_unit or ("document" if asked.keep_linebreaks else "line")),
        boundary=Boundary(asked.document_boundary or ("blank_line" if apart else "file")),
        keep_line_ends=asked.keep_linebreaks,
        lowercase=text.lowercase,
        space_token=SPACE_TOKEN if text.add_space_token else None,
        begin=asked.add_bos_token,
        end=True if apart else asked.add_eos_token,
        around_documents=apart,
    )


def define_legacy(arguments: Arguments) -> TaskDefinition:
    """run_language_modeling.py: masked with --mlm, else causal."""
    return _legacy_masked(arguments) if arguments[ObjectiveArguments].mlm else _legacy_causal(arguments)


def _legacy_masked(arguments: Arguments) -> TaskDefinition:
    """Lines, or the text with its line ends cut into blocks, each with special tokens."""
    asked, text = arguments[MaskingArguments], arguments[TextArguments]
    if asked.line_by_line or asked.datasets_type:
        return define_masked(arguments)

    def settings(max_length: int) -> CorpusSettings:
        return CorpusSettings(
            packing=Packing.STREAM,
            max_length=max_length,
            documents=DocumentRules(lowercase=text.lowercase, in_blocks=True),
            column=text.text_column_name,
            template=Template.BLOCKS,
            keep_flags=asked.whole_word_mask,
            find_words=asked.whole_word_mask,
        )

    return _masked(asked, settings)


def _legacy_causal(arguments: Arguments) -> TaskDefinition:
    """Lines, or the text with its line ends cut into blocks."""
    asked, text = arguments[MaskingArguments], arguments[TextArguments]

    def settings(max_length: int) -> CorpusSettings:
        return CorpusSettings(
            packing=Packing.LINES if asked.line_by_line else Packing.STREAM,
            max_length=max_length,
            rules=LineRules(lowercase=text.lowercase),
            documents=None if asked.line_by_line else DocumentRules(lowercase=text.lowercase, in_blocks=True),
            column=text.text_column_name,
            template=Template.BLOCKS,
        )

    return TaskDefinition(Objective.CAUSAL, asked.length, "--block_size", settings)

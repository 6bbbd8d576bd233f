"""Predict with a model that was trained here: texts in, JSON lines out.

    echo 'Maria flew to Berlin' | python predict.py --model_name_or_path outputs/wnut17
    python predict.py --model_name_or_path outputs/wnut17 --input_file news.txt.gz --output_file news.jsonl
    python predict.py --model_name_or_path outputs/wnut17 --input_file dev.conll --output_format conll --score
    python predict.py --model_name_or_path outputs/wnut17 --input_file news/ --output_dir tagged/

Any file that training reads is read here in the same way; of a folder, each file's results have a file of their own, and
started again after a kill the command goes on with the next. Each line of the output holds the text, its words, tags with
probabilities, and the entities with character offsets (or the label of the text); answers of the input stand beside. Without
--output_file results go to standard output, and nothing else does: the last line of the command, which says how it ended,
is then that of standard error.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.engine import EngineArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.prediction import PredictArguments
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "", (ModelArguments, PredictArguments, ProcessArguments, EngineArguments, RunArguments)
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.prediction.task import find_record, open_predictor, predict_stream

    options = arguments[PredictArguments]
    if options.output_dir:
        from finetune.prediction.shards import predict_shards

        return predict_shards(arguments)
    record = find_record(arguments)
    if record and not options.overwrite_output_file and record.is_finished():
        run.already_done = True
        return record.result
    predictor = open_predictor(arguments[ModelArguments], options, record)
    return predict_stream(predictor, arguments[ModelArguments], options, record)


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False, streams=True)

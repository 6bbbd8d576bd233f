"""Print what completes commands, flags and values of finetune in a shell: bash or zsh.

    source <(finetune completion bash)
    finetune completion zsh > ~/.finetune-completion && echo 'source ~/.finetune-completion' >> ~/.zshrc

It is made from the fields of the arguments, so it is to be printed again after an upgrade.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.commands import find_commands, find_scripts
from finetune.explaining.arguments import CompletionArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (CompletionArguments, RunArguments), positionals=("shell",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:  # noqa: ARG001
    from finetune.explaining.completion import format_completion
    from finetune.run.process_exit import write_result

    write_result(format_completion(arguments[CompletionArguments].shell, find_commands(find_scripts())))
    write_result(": \\")  # the shell's command that does nothing, and takes the last line for its words
    return {}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)

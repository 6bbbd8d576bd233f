"""Completion of `finetune NAME --flag value` for bash and zsh, from the fields of every command's arguments.

What is printed is whole: a shell that has read it starts no Python to complete. Flags that take a file, and all whose
values are not spelt out, are completed with files.
"""

from __future__ import annotations

import runpy
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from finetune.arguments.fields import Field
from finetune.arguments.parser import CommandParser

HEAD = """\
# Completion of finetune. bash: source <(finetune completion bash)   zsh: source <(finetune completion zsh)
_finetune() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="" choices="" flags="" before="" file=""
  (( COMP_CWORD > 0 )) && prev="${COMP_WORDS[COMP_CWORD-1]}"
  if [[ "$cur" == "=" ]]; then
    cur=""
  elif [[ "$prev" == "=" ]]; then
    prev="${COMP_WORDS[COMP_CWORD-2]}"
  elif [[ "$cur" == --*=* ]]; then  # one word in zsh, three in bash
    prev="${cur%%%%=*}" before="${cur%%%%=*}=" cur="${cur#*=}"
  fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=( $(compgen -W "%s" -- "$cur") )
    return
  fi
  case "${COMP_WORDS[1]//-/_}" in
"""
TAIL = """\
  esac
  if [[ -z "$before" && "$cur" == -* ]]; then
    COMPREPLY=( $(compgen -W "$flags" -- "$cur") )
  elif [[ -n "$choices" ]]; then
    COMPREPLY=( $(compgen -P "$before" -W "$choices" -- "$cur") )
  elif [[ -n "$before" ]]; then  # compgen of zsh would look for files of the whole word
    for file in "$cur"*; do [[ -e "$file" ]] && COMPREPLY+=( "$before$file" ); done
  else
    compopt -o filenames 2>/dev/null
    COMPREPLY=( $(compgen -f -- "$cur") )
  fi
}
complete -F _finetune finetune
"""
ZSH_HEAD = "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n"


def format_completion(shell: str, commands: Mapping[str, Path]) -> str:
    """The script of a shell, for the commands of those names and files."""
    head = HEAD if shell == "bash" else ZSH_HEAD + HEAD.replace("  local cur", "  emulate -L ksh\n  local cur", 1)
    branches = [line for name, path in commands.items() for line in _branch(name, path)]
    return head % " ".join(commands) + "\n".join(branches) + "\n" + TAIL


def _branch(name: str, path: Path) -> Iterator[str]:
    """What a command takes: its flags, and the values of those that are spelt out."""
    fields = read_fields(path)
    flags = " ".join(f"--{flag}" for flag in [*fields, "help"])
    spelt = {flag: values for flag, item in fields.items() if (values := values_of(item))}
    yield f"    {name.replace('-', '_')})"
    yield f"      flags={shlex.quote(flags)}"
    if spelt:
        yield '      case "$prev" in'
        for values in dict.fromkeys(spelt.values()):
            same = "|".join(f"--{flag}" for flag, own in spelt.items() if own == values)
            yield f"        {same}) choices={shlex.quote(' '.join(values))} ;;"
        yield "      esac"
    yield "      ;;"


def read_fields(path: Path) -> Mapping[str, Field]:
    """The fields of a script's parser by their names and other names; none of a name that only starts another script."""
    make_parser = runpy.run_path(str(path), run_name="completion").get("make_parser")
    if make_parser is None:
        return {}
    parser: CommandParser = make_parser()
    return {name: item for item in parser.fields.values() for name in (item.name, *item.aliases)}


def values_of(item: Field) -> tuple[str, ...]:
    """The values of a flag that are spelt out."""
    return item.choices or (("True", "False") if item.kinds == ("bool",) else ())

# Sourced by the wrappers beside it: their common flags, and starting Python so that its exit code and signals get through.
#
# A wrapper sets PURPOSE (a line) and SETTINGS (names of the variables that a caller may set), sources this file, calls
# `read_flags "$@"`, and starts its command by `run_python SCRIPT --flag value ...`.

set -o nounset -o errexit -o errtrace -o pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VERBOSE=0
DRY_RUN=0
FURTHER=()

usage() {
    local name
    echo "usage: $(basename "$0") [-v] [-v -v] [--dry-run] [-h | --help] [--flag value ...]"
    echo
    echo "$PURPOSE"
    echo
    echo "  -v          show each command before it runs"
    echo "  -v -v       show every step of this wrapper, too"
    echo "  --dry-run   show the commands and run none (--dry_run: let Python show its plan)"
    echo "  -h, --help  show this text"
    echo
    echo "Further flags are handed on; the last of a flag counts. Variables that may be set, with their values now:"
    for name in $SETTINGS; do
        echo "  $name=${!name}"
    done
}

# Sorts the words of the command line into ours and Python's. A word before any flag is a mistake.
read_flags() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -v) VERBOSE=$((VERBOSE + 1)) ;;
            --dry-run) DRY_RUN=1 ;;
            -h | --help) usage; exit 0 ;;
            *)
                if [ "${#FURTHER[@]}" -eq 0 ] && [ "${1#-}" = "$1" ]; then
                    echo "error: unexpected word '$1'; flags begin with two dashes" >&2
                    usage >&2
                    exit 1
                fi
                FURTHER+=("$1")
                ;;
        esac
        shift
    done
    if [ "$VERBOSE" -ge 1 ]; then trap 'echo "Exits abnormally at line $LINENO of $(basename "$0")" >&2' ERR; fi
    if [ "$VERBOSE" -ge 2 ]; then set -o xtrace; fi
}

# Ends the wrapper with a sentence, as Python ends with code 2 for what a user can mend.
refuse() {
    echo "error: $1" >&2
    exit 2
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
    elif [ -x "$SCRIPTS/../.venv/bin/python" ]; then
        echo "$SCRIPTS/../.venv/bin/python"
    else
        echo python3
    fi
}

# find_config NAME: the path of configs/NAME.json, in a checkout or where pip put it.
find_config() {
    local folder="$SCRIPTS/../configs"
    if [ ! -f "$folder/$1.json" ]; then folder="$SCRIPTS/../finetune_configs"; fi
    echo "$folder/$1.json"
}

# judge_flags SCRIPT FLAG...: as run_python would start it, but only its flags are judged; code 2 and its sentences on stderr.
judge_flags() {
    local script=$1 status=0 said
    shift
    if [ "$DRY_RUN" -eq 1 ]; then return 0; fi
    said=$(FINETUNE_ONLY_JUDGE_FLAGS=1 "$(find_python)" "$SCRIPTS/$script" "$@" ${FURTHER[@]+"${FURTHER[@]}"}) || status=$?
    if [ "$status" -ne 0 ]; then echo "$said" | tail -n 1; fi
    return "$status"
}

# The sha256 of files, or what else tells them from others where neither tool is there.
fingerprint() {
    if command -v sha256sum >/dev/null; then sha256sum -- "$@"; elif command -v shasum >/dev/null; then shasum -a 256 -- "$@"; else
        cksum -- "$@"
    fi | cut -d ' ' -f 1
}

# run_python SCRIPT FLAG...: starts a script beside this file, with the further flags last; returns its exit code.
run_python() {
    local script=$1 status=0 child interrupted=0
    shift
    local command=("$(find_python)" "$SCRIPTS/$script" "$@" ${FURTHER[@]+"${FURTHER[@]}"})
    if [ "$VERBOSE" -ge 1 ] || [ "$DRY_RUN" -eq 1 ]; then
        printf '%q ' "${command[@]}"
        echo
    fi
    if [ "$DRY_RUN" -eq 1 ]; then return 0; fi
    "${command[@]}" <&0 &
    child=$!
    trap 'interrupted=1; kill -TERM "$child"' TERM
    trap 'interrupted=1; kill -USR1 "$child"' USR1
    # Ctrl-C reaches Python from the terminal already, and a second one would end it without saving.
    if [ -t 0 ]; then trap 'interrupted=1' INT; else trap 'interrupted=1; kill -INT "$child"' INT; fi
    wait "$child" || status=$?
    while [ "$interrupted" -eq 1 ]; do # a signal ended the waiting; bash still knows how Python ended, if it has by now
        interrupted=0 status=0
        wait "$child" || status=$?
    done
    return "$status"
}

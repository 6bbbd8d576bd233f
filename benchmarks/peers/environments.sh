#!/usr/bin/env bash
# Environments of the peers, each of its own: benchmarks/peers/environments.sh FOLDER
# TORCH_INDEX names another index for torch's CPU build; empty: pip's own indexes have it.
# Then: python benchmarks/peers/bench_peers.py --environments FOLDER
set -euo pipefail
folder=${1:?a folder for the environments}
torch="torch==2.13.0+cpu"
index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}

make_environment() {
    name=$1 && shift
    "${PYTHON:-python3}" -m venv "$folder/$name"
    "$folder/$name/bin/python" -m pip install --quiet ${index:+--extra-index-url "$index"} "$torch" "$@"
}

make_environment spacy spacy==3.8.18 spacy-curated-transformers==0.3.1 curated-transformers==0.1.1 transformers==4.57.6 \
    numpy==2.3.5  # spacy-curated-transformers 0.3.1 fails on 2.4: it turns arrays of one value into numbers
make_environment flair flair==0.15.1 transformers==4.57.6

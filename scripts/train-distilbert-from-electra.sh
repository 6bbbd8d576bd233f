#!/usr/bin/env bash
# Distils a DistilBERT from an ELECTRA: text into ids, counts, layers of the teacher, training, export.

PURPOSE="Distil the ELECTRA in \$TEACHER into a DistilBERT on the text of \$TRAIN_FILE. Further flags go to the training."
STUDENT=distilbert-from-electra # a file of configs/, unless STUDENT_CONFIG names another
TEACHER=${TEACHER:-./electra-base}
TEACHER_TYPE=${TEACHER_TYPE:-electra}
DOCUMENTED_VOCAB_SIZE=35000
BATCH_SIZE=${BATCH_SIZE:-3}

# shellcheck source=scripts/distil.sh
source "$(dirname "${BASH_SOURCE[0]}")/distil.sh"

distil "$@"

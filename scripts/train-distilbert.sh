#!/usr/bin/env bash
# Distils a DistilBERT from a BERT: text into ids, counts, layers of the teacher, training, export.

PURPOSE="Distil the BERT in \$TEACHER into a DistilBERT on the text of \$TRAIN_FILE. Further flags go to the training."
STUDENT=distilbert-base # a file of configs/, unless STUDENT_CONFIG names another
TEACHER=${TEACHER:-./bert-base}
TEACHER_TYPE=${TEACHER_TYPE:-bert}
DOCUMENTED_VOCAB_SIZE=202592
BATCH_SIZE=${BATCH_SIZE:-3}

# shellcheck source=scripts/distil.sh
source "$(dirname "${BASH_SOURCE[0]}")/distil.sh"

distil "$@"

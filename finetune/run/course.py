"""Where the course of a training is kept: names that those who write it and those who draw it share."""

HISTORY, PROGRESS = "training_history.json", "training_progress.json"
LOSS_PART = "loss_"  # what the parts of a loss begin with in both

"""Training: batches, models and losses in, weights, history and record out."""

CHECKPOINT_SECONDS = 60.0  # between two checkpoints

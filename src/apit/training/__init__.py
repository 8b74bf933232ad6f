"""Training: batches, models and losses in, weights, history and record out."""

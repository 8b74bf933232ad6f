"""Sounds: from clips to batches."""

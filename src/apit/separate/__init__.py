"""Separation of anything: a run's weights, and sound of any rate, channels and length."""

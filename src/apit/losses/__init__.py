"""Losses: which estimate belongs to which reference, how far apart they are, and how real."""

"""Presentation: numbers in, tables and figures out; it computes nothing."""

"""Measures: references and estimates in, numbers out."""

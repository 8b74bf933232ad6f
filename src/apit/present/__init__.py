"""Presentation: numbers in, tables and figures out; it computes nothing."""

import os

os.environ["MPLBACKEND"] = "agg"  # not a notebook's, which matplotlib looks for when it is imported

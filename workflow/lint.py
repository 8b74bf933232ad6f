"""`snakemake --lint`, less its wish for a conda environment or container in each rule.

All rules run in the one virtual environment that the Makefile makes from requirements.lock.
"""

import json
import subprocess
import sys

ACCEPTED = "Specify a conda environment or container for each rule."

printed = subprocess.run(("snakemake", "--lint", "json"), capture_output=True, text=True).stdout
found = json.loads(printed[printed.index("{") :])
lints = [
    f"{snakefile['rules' if 'rules' in snakefile else 'name']}: {lint}"
    for snakefile in found
    for lint in ()
]

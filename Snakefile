# From sounds to the ablation table. `snakemake --cores all` makes everything for the scale in params.yaml;
# `--config scale=mini` takes another, `clips=FOLDER` one's own sounds, `rooms=FOLDER` one's own impulse responses, and
# `set='training.steps=40'` another value of any key.
#
# What takes time stands under a name that holds the hash of all that it depends on (`apit.identity`). So what is here is
# valid, whatever its date, and what is not here is made.
import json
import shlex
import sys
from pathlib import Path

from filelock import Timeout
from snakemake.utils import min_version

from apit.artefacts import Artefacts
from apit.code import code_of
from apit.config import IDEAL, ORACLES, TRIVIAL
from apit.errors import UserError
from apit.files import locked
from apit.identity import beside, end_of, to_resume
from apit.layers import load_scale, own_folders_settings
from apit.present.origin import PRESENTATION

min_version("9.0")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        due("weights", "estimates") if TRAIN_ABSENT else [],
        rules.tables.output,
        rules.figures.output,
        [*rules.spectrograms.output, *rules.listen.output] if CAN_BE_HEARD else [],
        rules.report.output,


# The job in parts, as dvc.yaml calls it: `snakemake data`, `snakemake runs`, `snakemake scores`.
rule data:
    input:
        PACKED,


rule runs:
    input:
        due("records", "weights") if TRAIN_ABSENT else due("records"),


rule trials:
    input:
        expand("{trial}/record.json", trial=TRIALS),


rule scores:
    input:
        due("scores"),

# From sounds to the ablation table. `snakemake --cores all` makes everything for the scale in
# params.yaml; `--config scale=mini` takes another; `--config clips=FOLDER` mixes one's own sounds,
# and `rooms=FOLDER` one's own impulse responses.
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version
from snakemake_interface_executor_plugins.settings import ExecMode

from apit.config import IDEAL, TRIVIAL, bank_digest, mixing_digest
from apit.layers import (
    load_run,
    load_scale,
    own_clips_settings,
    trial_settings,
)
from apit.lineage import code_of, code_of_training, versions_of
from apit.errors import UserError

min_version("9.0")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


SCALE = config["scale"]
DATA = f"data/{SCALE}"
RESULTS = f"results/{SCALE}"

try:
    scale = load_scale(SCALE)
    # With sounds of one's own, how the scale differs, which every command is told.
    SETTINGS = own_clips_settings(scale) if config.get("clips") else []
    scale = load_scale(SCALE, SETTINGS)
    RUNS = {
        f"{experiment}-s{seed}": load_run(SCALE, experiment, seed, SETTINGS)
        for experiment, seed in scale.runs
    }
except UserError as error:
    raise WorkflowError(str(error))

OF_SCALE = " ".join([SCALE, *(f"--set {shlex.quote(s)}" for s in SETTINGS)])
VERSIONS = versions_of(RUNS.values())


include: "workflow/rules/alone.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        rules.tables.output,
        rules.figures.output,
        [*rules.spectrograms.output, *rules.listen.output] if CAN_BE_HEARD else [],
        rules.report.output,
        rules.versions.output,


# The job in parts, as dvc.yaml calls it: `snakemake data`, `snakemake runs`, `snakemake scores`.
rule data:
    input:
        PACKED,


rule runs:
    input:
        expand(f"{RESULTS}/runs/{{run}}", run=[r for r in RUNS if r not in ABSENT]),
        RECORDS,
        TRIED,


rule trials:
    input:
        TRIAL_RECORDS,


rule scores:
    input:
        SCORES,
        BSS_EVAL,
        OUT_OF_DOMAIN,

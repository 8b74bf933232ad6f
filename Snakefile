# From sounds to the ablation table. `snakemake --cores all` makes everything for the scale in
# params.yaml; `--config scale=mini` takes another; `--config clips=FOLDER` mixes one's own sounds,
# and `rooms=FOLDER` one's own impulse responses.
import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version

from apit.config import IDEAL, TRIVIAL, bank_digest, mixing_digest
from apit.layers import load_run, load_scale
from apit.errors import UserError

min_version("9.0")


configfile: "params.yaml"


SCALE = config["scale"]
DATA = f"data/{SCALE}"
RESULTS = f"results/{SCALE}"

try:
    scale = load_scale(SCALE)
    RUNS = {
        f"{experiment}-s{seed}": load_run(SCALE, experiment, seed)
        for experiment in scale.experiments
        for seed in scale.seeds
    }
except UserError as error:
    raise WorkflowError(str(error))

# Rules call `apit` of the environment that runs Snakemake, whether it is activated or not.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        rules.tables.output,
        rules.figures.output,


# The job in parts, as dvc.yaml calls it: `snakemake data`, `snakemake runs`, `snakemake scores`.
rule data:
    input:
        PACKED,


rule runs:
    input:
        expand(f"{RESULTS}/runs/{{run}}", run=RUNS),


rule scores:
    input:
        SCORES,
        BSS_EVAL,
        OUT_OF_DOMAIN,

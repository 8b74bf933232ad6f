# names that rules share: the systems that are scored, and how a command is told of one

SYSTEMS = [*TRIVIAL, *RUNS, *IDEAL]  # the rows of a table
SCORES = expand(f"{RESULTS}/scores/{{system}}.csv.gz", system=SYSTEMS)
BSS_EVAL = expand(f"{RESULTS}/bss_eval/{{system}}.csv.gz", system=SYSTEMS)
HELD_OUT = scale.data.recipe is not None and bool(scale.data.recipe.held_out)
OUT_OF_DOMAIN = expand(
    f"{RESULTS}/scores/out_of_domain/{{system}}.csv.gz",
    system=SYSTEMS if HELD_OUT else [],
)


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    system="|".join(map(re.escape, SYSTEMS)),


def system(wildcards):
    """How `apit evaluate` is told of a run or an oracle."""
    if wildcards.system in RUNS:
        return f"--run {RESULTS}/runs/{wildcards.system}"
    return f"--oracle {wildcards.system}"


def run_of(wildcards):
    """The run that a system is, if it is one."""
    return [f"{RESULTS}/runs/{wildcards.system}"] if wildcards.system in RUNS else []

# names that rules share: the systems that are scored, and how a command is told of one

SYSTEMS = [*TRIVIAL, *RUNS, *IDEAL]  # the rows of a table
RECORDS = expand(f"{RESULTS}/records/{{run}}", run=RUNS)
SCORES = expand(f"{RESULTS}/scores/{{system}}.csv.gz", system=SYSTEMS)
BSS_EVAL = expand(f"{RESULTS}/scores/bss_eval/{{system}}.csv.gz", system=SYSTEMS)
HELD_OUT = scale.data.recipe is not None and bool(scale.data.recipe.held_out)
OUT_OF_DOMAIN = expand(
    f"{RESULTS}/scores/out_of_domain/{{system}}.csv.gz",
    system=SYSTEMS if HELD_OUT else [],
)

# Trials of rate × batch by name: the run that each is, and how it is told. They are made when they are asked for (`snakemake
# trials`); from then on tables and report have those that are there.
TRIALS = {
    f"{experiment}-r{rate:g}-b{batch}": (
        load_run(SCALE, experiment, scale.tuning.seed, [*SETTINGS, *settings]),
        settings,
    )
    for experiment in scale.experiments
    if scale.tuning
    for rate in scale.tuning.learning_rates
    for batch in scale.tuning.batch_sizes
    for settings in [
        trial_settings(
            RUNS[f"{experiment}-s{scale.seeds[0]}"], scale.tuning, rate, batch
        )
    ]
}
TRIAL_RECORDS = expand(f"{RESULTS}/records/trials/{{trial}}", trial=TRIALS)
TRIED = [record for record in TRIAL_RECORDS if Path(record).exists()]


def data_of_trial(wildcards):
    """What a trial is on; nothing, where a clone has its record, and no data yet."""
    record = Path(f"{RESULTS}/records/trials/{wildcards.trial}/record.json")
    return [] if record.exists() and not Path(PACKED).exists() else ancient(PACKED)


# Runs that are finished, but whose weights are elsewhere, as in a clone: git has their records and scores, `make restore`
# brings the rest. They are never trained again for want of weights, unless that is asked for (`make reproduce`), or the sounds
# are others.
ABSENT = [
    run
    for run, record in zip(RUNS, RECORDS)
    if workflow.exec_mode == ExecMode.DEFAULT  # not in a job of another Snakemake
    and not any(map(config.get, ("train_absent", "clips", "rooms")))
    and Path(record).exists()
    and not Path(f"{RESULTS}/runs/{run}").exists()
]
for run in ABSENT:
    record = json.loads(Path(f"{RESULTS}/records/{run}/record.json").read_text())
    today = RUNS[run].training_digest, code_of_training(RUNS[run])
    if (record["digest"], record.get("code")) != today:
        raise WorkflowError(
            f"{RESULTS}/records/{run} is of another configuration or other code than today's, and its"
            f" weights are not here: go back to what it is of, say that the code gives the same (`apit"
            f" accept`), or remove it and its scores, to train it anew"
        )
if ABSENT:
    print(
        f"the weights of {len(ABSENT)} finished runs are not here: `make restore` brings them,"
        " `make reproduce` trains them anew",
        file=sys.stderr,
    )

# A clone has versions.json, but not what Snakemake knew when it made it: that it is of other code, only its content tells.
OTHER_CODE = Path(f".snakemake/other-code-{SCALE}")
if workflow.exec_mode == ExecMode.DEFAULT:
    OTHER_CODE.parent.mkdir(exist_ok=True)
    OTHER_CODE.touch()
    committed = Path(f"{RESULTS}/versions.json")
    if committed.exists() and json.loads(committed.read_text()) == VERSIONS:
        os.utime(OTHER_CODE, (1, 1))  # older than anything

# Rules call `apit` of the environment that runs Snakemake, whether it is activated or not.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH ABSENT='{' '.join(ABSENT)}'; "
)


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    trial="|".join(map(re.escape, TRIALS)),
    system="|".join(map(re.escape, SYSTEMS)),


def system(wildcards):
    """How `apit evaluate` is told of a run or an oracle."""
    if wildcards.system in RUNS:
        return f"--run {RESULTS}/runs/{wildcards.system}"
    return f"--oracle {wildcards.system}"


# Of these, runs of which all scores are here: they stay as they are, whatever is made anew around them.
KEPT = [
    run
    for run in ABSENT
    if all(
        Path(f"{RESULTS}/scores/{kind}{run}.csv.gz").exists()
        for kind in ("", "bss_eval/", *(["out_of_domain/"] if HELD_OUT else []))
    )
]


def run_of(wildcards):
    """The run that a system is, if it is one, and is to be scored."""
    is_scored = wildcards.system in RUNS and wildcards.system not in KEPT
    return [f"{RESULTS}/runs/{wildcards.system}"] if is_scored else []


def data_of(wildcards):
    """What a system is scored on, if it is to be."""
    return [] if wildcards.system in KEPT else PACKED


in_report = report  # `report` at the start of a line is a keyword of Snakemake's


def shown(folder, names, suffix, category, caption):
    """Files that `snakemake --report` shows."""
    return [
        in_report(
            f"{folder}/{name}.{suffix}",
            category=category,
            labels={"name": name.replace("_", " ")},
            caption=caption,
        )
        for name in names
    ]

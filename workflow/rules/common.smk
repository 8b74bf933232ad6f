# What a scale has, and under which names

# What `--config` says, word for word: Snakemake reads it as numbers, booleans or YAML, which ends at a `#`.
SAID = dict(said.split("=", 1) for said in workflow.config_settings.config_args)


def given(name):
    """A value of the configuration, as text."""
    return SAID.get(name, str(config.get(name) or ""))


SCALE = given("scale")
RESULTS = f"results/{SCALE}"
# `make reproduce`: also weights and sounds, which git has not, so that all is made anew where they are not here.
TRAIN_ABSENT = given("train_absent").lower() not in ("", "false", "no", "0")

try:
    SETTINGS = shlex.split(given("set"))
    SETTINGS += own_folders_settings(
        load_scale(SCALE, SETTINGS), given("clips"), given("rooms")
    )
    made = Artefacts(SCALE, SETTINGS)
except UserError as error:
    raise WorkflowError(str(error))

scale = made.scale
TODAY = {
    path: str(made.at(path)) for path in made.identities
}  # name → where today's stands
DATA = f"data/{SCALE}"
PACKED = TODAY[f"{DATA}/packed"]
RUNS = {run: TODAY[f"{RESULTS}/runs/{run}"] for run in made.every_run}
STARTS = {  # of forks: name → the run from whose end it goes on
    name: Path(RUNS[run.start_from.name])
    for name, run in made.every_run.items()
    if run.start_from
}
OF_SYSTEMS = {
    system: TODAY[f"{RESULTS}/scores/{system}"] for system in (*ORACLES, *RUNS)
}
TRIALS = [TODAY[f"{RESULTS}/trials/{trial}"] for trial in made.trials]


def scores_of(runs):
    """Scores of runs and of oracles, in the order of the tables."""
    systems = (*TRIVIAL, *runs, *IDEAL)
    return [f"{OF_SYSTEMS[system]}/scores.csv" for system in systems]


def due(*kinds):
    """What is due of runs, once it is known which are: where seeds are added until claims are decided, after a first look."""

    def files(wildcards):
        if made.look and not Path(LOOK).exists():
            checkpoints.look.get(id=made.identities[made.look].id)
        runs = made.runs
        of_kind = {
            "records": [f"{RUNS[run]}/record.json" for run in runs],
            "weights": [str(beside(Path(RUNS[run]))) for run in runs],
            "scores": scores_of(runs),
            "estimates": [
                str(beside(Path(scores).parent)) for scores in scores_of(runs)
            ],
        }
        return [path for kind in kinds for path in of_kind[kind]]

    return files


# What is made of scores, and changes where one of them goes, or how they are read together. Snakemake remembers no `params`
# that are computed from `input`.
def of_scores(wildcards):
    return [
        *scores_of(made.runs),
        *(f"{RUNS[run]}/record.json" for run in made.runs),
        scale.evaluation.resamples,
        str(scale.looks),
        json.dumps(scale.data.sounds.model_dump(mode="json"), separators=(",", ":")),
    ]


LOOK = f"{TODAY[made.look]}/look.json" if made.look else None

BANK = [TODAY[f"{DATA}/bank"]] if scale.training.remix == "clips" else []
OF_DATA = f"--data {PACKED}" + "".join(f" --bank {bank}" for bank in BANK)
SCORED = ["scores.csv", "bss_eval.csv", "identity.json"]
SCORED += (
    ["out_of_domain.csv"] if scale.data.recipe and scale.data.recipe.held_out else []
)

# What every command is told. It stands in shell lines, and in no `params`: what is already here under today's name is not
# made anew for being asked for in other words.
OF_SCALE = " ".join([SCALE, *(f"--set {shlex.quote(s)}" for s in SETTINGS)])
OF_SCALE = OF_SCALE.replace("{", "{{").replace("}", "}}")

# Rules call `apit` of the environment that runs Snakemake, whether it is activated or not.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


wildcard_constraints:
    name="[^/]+",
    id="[0-9a-f]{8}",


def is_here(small, large):
    """Whether an artefact is here: what git has of it, and, where it is asked for, the rest."""
    return Path(small).exists() and (not TRAIN_ABSENT or Path(large).exists())


# Runs that are finished, but whose weights are elsewhere, as in a clone: `make restore` brings them, `make reproduce` trains
# them anew. They are never trained for want of weights alone.
ABSENT = [
    run
    for run, folder in RUNS.items()
    if Path(f"{folder}/record.json").exists()
    and not beside(Path(folder)).exists()
    and not TRAIN_ABSENT
]


def to_make(path, *inputs):
    """What something is made of, if it is to be: what is here needs nothing, and no date of it matters."""
    return [] if Path(path).exists() else list(inputs)


def to_train(name):
    """What a run is trained on, if it is to be."""
    run = RUNS[name]
    start = [end_of(STARTS[name])] if name in STARTS else []
    here = is_here(f"{run}/record.json", beside(Path(run)))
    return [] if here else [PACKED, *BANK, *start]


def as_run(name):
    """Which run a training is of, and what it starts from."""
    start = f" --start {STARTS[name]}" if name in STARTS else ""
    return "--experiment {} --seed {}".format(*name.rsplit("-s", 1)) + start


def checkpoints_of(name):
    """Folder from which a run that was killed goes on; one whose other steps are the same may, too."""
    identity = made.identities[f"{RESULTS}/runs/{name}"]
    return f"work/{SCALE}/{name}-{to_resume(identity).id}"


def to_score(name):
    """What a system is scored with, if it is to be."""
    scores = OF_SYSTEMS[name]
    if is_here(f"{scores}/scores.csv", beside(Path(scores))):
        return []
    if name in ABSENT:
        raise WorkflowError(
            f"the weights of {name} are not here: make restore, or remove {RUNS[name]} to train it anew"
        )
    return [PACKED, *([beside(Path(RUNS[name]))] if name in RUNS else [])]


onstart:
    # One Snakemake at a time in this folder. The kernel frees this lock when a process dies, however it dies, so that nothing
    # is ever to be unlocked by hand (Snakemake's own lock is off in profiles/).
    global only_one
    try:
        only_one = locked(Path(".snakemake/alone.lock"))
    except Timeout:
        raise WorkflowError(
            "another snakemake works in this folder: wait for it or stop it, then start this again"
        )
    if ABSENT:
        print(
            f"the weights of {len(ABSENT)} finished runs are not here: `make restore` brings them,"
            " `make reproduce` trains them anew",
            file=sys.stderr,
        )


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

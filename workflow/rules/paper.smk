# scores → tables and figures → the report; weights and scores → a page to listen to

COST = [path for path in [f"{RESULTS}/cost.csv"] if Path(path).exists()]
TRIED = [f"{trial}/record.json" for trial in made.tried]
TABLES = [
    *(
        "ablations",
        "contexts",
        "combinations",
        "holes",
        "bss_eval",
        "verdicts",
        "published",
    ),
    "models",
    *(["out_of_domain"] if "out_of_domain.csv" in SCORED else []),
    *(["tuning"] if TRIED else []),
    *(["cost"] if COST else []),
]
FIGURES = [
    "contexts",
    "training",
    "improvement",
    "per_mixture",
    "differences",
    "replacement",
    "holes",
]


# What is seen and heard, which needs weights: one seed of each experiment.
HEARD = [run for run, one in made.every_run.items() if one.seed == scale.looks[0][0]]
CAN_BE_HEARD = not set(HEARD) & set(ABSENT)


# How long a step takes, of each experiment in turns, alone on this machine: `snakemake cost`. It is made when it is asked for,
# and from then on tables and report have it.
rule cost:
    output:
        f"{RESULTS}/cost.csv",
    log:
        f"logs/{SCALE}/cost.log",
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        experiments=scale.names,
    shell:
        f"apit bench --scale {OF_SCALE}"
        " --experiments {params.experiments} --rounds 9"
        " --output {output} > {log} 2>&1"


# Tables and statistical figures need scores and records alone: neither weights nor data.
rule tables:
    input:
        scores=due("scores"),
        runs=due("records"),
        trials=TRIED,
        cost=COST,
        claims="configs/claims.yaml",
        reported="configs/reported.yaml",
    output:
        *shown(f"{RESULTS}/tables", TABLES, "csv", "Tables", "../report/tables.rst"),
        expand(
            f"{RESULTS}/tables/{{name}}.{{suffix}}", name=TABLES, suffix=["md", "tex"]
        ),
        origin=f"{RESULTS}/tables/origin.json",
        metrics=f"{RESULTS}/tables/metrics.json",
        training=f"{RESULTS}/tables/training.csv",
        seeds=f"{RESULTS}/tables/seeds.csv",
    log:
        f"logs/{SCALE}/tables.log",
    params:
        of=lambda wildcards: [*of_scores(wildcards), *TRIED],
        caption=scale.caption,
        code=code_of(PRESENTATION["tables"]),
        folder=subpath(output[0], parent=True),
    shell:
        f"apit tables --scale {OF_SCALE} --output {{params.folder}} 2> {{log}}"


rule figures:
    input:
        scores=due("scores"),
        runs=due("records"),
        reported="configs/reported.yaml",
    output:
        *shown(f"{RESULTS}/figures", FIGURES, "png", "Figures", "../report/figures.rst"),
        expand(f"{RESULTS}/figures/{{name}}.pdf", name=FIGURES),
        origin=f"{RESULTS}/figures/origin.json",
    log:
        f"logs/{SCALE}/figures.log",
    params:
        of=of_scores,
        caption=scale.caption,
        code=code_of(PRESENTATION["figures"]),
        folder=subpath(output[0], parent=True),
    shell:
        f"apit figures --scale {OF_SCALE} --output {{params.folder}} 2> {{log}}"


rule spectrograms:
    input:
        estimates=[beside(Path(OF_SYSTEMS[run])) for run in HEARD],
        data=PACKED,
    output:
        *shown(
            f"{RESULTS}/figures/spectrograms",
            ["spectrograms"],
            "png",
            "Figures",
            "../report/spectrograms.rst",
        ),
        f"{RESULTS}/figures/spectrograms/spectrograms.pdf",
        f"{RESULTS}/figures/spectrograms/origin.json",
    log:
        f"logs/{SCALE}/spectrograms.log",
    params:
        of=[OF_SYSTEMS[run] for run in HEARD],
        caption=scale.caption,
        code=code_of(PRESENTATION["spectrograms"]),
        folder=subpath(output[0], parent=True),
    shell:
        f"apit spectrograms --scale {OF_SCALE} --output {{params.folder}} 2> {{log}}"


# The same runs, and what masking could reach.
rule listen:
    input:
        weights=[beside(Path(RUNS[run])) for run in HEARD],
        scores=scores_of(HEARD),
        data=PACKED,
    output:
        directory(f"{RESULTS}/listen"),
    log:
        f"logs/{SCALE}/listen.log",
    threads: scale.training.threads
    resources:
        gpu=1,
        runtime=480,
    params:
        of=[OF_SYSTEMS[run] for run in HEARD],
        caption=scale.caption,
        code=code_of(PRESENTATION["listen"]),
    shell:
        f"apit listen --scale {OF_SCALE} --output {{output}} 2> {{log}}"


# Spectrograms are of estimates, which a clone without weights lacks: its report has none.
rule report:
    input:
        tables=rules.tables.output,
        figures=rules.figures.output,
        spectrograms=rules.spectrograms.output if CAN_BE_HEARD else [],
        claims="configs/claims.yaml",
        text=expand("paper/{name}", name=["report.typ", "layout.typ", "references.bib"]),
    output:
        pdf=in_report(
            f"{RESULTS}/report.pdf", category="Report", caption="../report/report.rst"
        ),
        origin=f"{RESULTS}/origin.json",
    log:
        f"logs/{SCALE}/report.log",
    params:
        caption=scale.caption,
        code=code_of(PRESENTATION["report"]),
    shell:
        f"apit report --scale {OF_SCALE} --output {{output.pdf}} 2> {{log}}"

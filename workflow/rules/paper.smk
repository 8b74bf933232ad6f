# scores → tables and figures → the report; weights and scores → a page to listen to

COST = [p for p in [f"{RESULTS}/cost.csv"] if Path(p).exists()]

TABLES = [
    "ablations",
    "contexts",
    "combinations",
    "holes",
    "bss_eval",
    "verdicts",
    "published",
    "models",
    *(["out_of_domain"] if HELD_OUT else []),
    *(["tuning"] if TRIED else []),
    *(["cost"] if COST else []),
]
FIGURES = [
    "training",
    "improvement",
    "per_mixture",
    "differences",
    "replacement",
    "holes",
]


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
        scale=OF_SCALE,
        experiments=scale.experiments,
    shell:
        "apit bench --scale {params.scale} --experiments {params.experiments} --rounds 9"
        " --output {output} > {log} 2>&1"


# Tables and statistical figures need scores and records alone: neither weights nor data.
rule tables:
    input:
        scores=SCORES,
        bss_eval=BSS_EVAL,
        out_of_domain=OUT_OF_DOMAIN,
        runs=RECORDS,
        trials=TRIED,
        cost=COST,
        claims="configs/claims.yaml",
        reported="configs/reported.yaml",
    output:
        *shown(f"{RESULTS}/tables", TABLES, "csv", "Tables", "../report/tables.rst"),
        expand(
            f"{RESULTS}/tables/{{name}}.{{suffix}}",
            name=TABLES,
            suffix=["md", "tex", "json"],
        ),
        metrics=f"{RESULTS}/tables/metrics.json",
        training=f"{RESULTS}/tables/training.csv",
    log:
        f"logs/{SCALE}/tables.log",
    params:
        scale=OF_SCALE,
        caption=scale.caption,
        code=code_of("tables"),
        folder=subpath(output[0], parent=True),
        out_of_domain=f"--out-of-domain {' '.join(OUT_OF_DOMAIN)}" if HELD_OUT else "",
        trials=f"--trials {' '.join(TRIED)}" if TRIED else "",
        cost=f"--cost {COST[0]}" if COST else "",
        tuned=scale.tuned,
    shell:
        "apit tables --scale {params.scale} --scores {input.scores} --bss-eval {input.bss_eval}"
        " {params.out_of_domain} {params.trials} {params.cost} --runs {input.runs} --output {params.folder} 2> {log}"


rule figures:
    input:
        scores=SCORES,
        runs=RECORDS,
        reported="configs/reported.yaml",
    output:
        *shown(f"{RESULTS}/figures", FIGURES, "png", "Figures", "../report/figures.rst"),
        expand(
            f"{RESULTS}/figures/{{name}}.{{suffix}}",
            name=FIGURES,
            suffix=["pdf", "json"],
        ),
    log:
        f"logs/{SCALE}/figures.log",
    params:
        scale=OF_SCALE,
        caption=scale.caption,
        code=code_of("figures"),
        folder=subpath(output[0], parent=True),
    shell:
        "apit figures --scale {params.scale} --scores {input.scores} --runs {input.runs}"
        " --output {params.folder} 2> {log}"


# What is seen and heard, which needs weights: one seed of each experiment.
HEARD = [run for run in RUNS if RUNS[run].seed == scale.seeds[0]]
CAN_BE_HEARD = not set(HEARD) & set(ABSENT)


rule spectrograms:
    input:
        runs=expand(f"{RESULTS}/records/{{run}}", run=HEARD),
        estimates=expand(f"{RESULTS}/estimates/{{run}}", run=HEARD),
        data=PACKED,
    output:
        *shown(
            f"{RESULTS}/figures",
            ["spectrograms"],
            "png",
            "Figures",
            "../report/spectrograms.rst",
        ),
        expand(f"{RESULTS}/figures/spectrograms.{{suffix}}", suffix=["pdf", "json"]),
    log:
        f"logs/{SCALE}/spectrograms.log",
    params:
        scale=OF_SCALE,
        caption=scale.caption,
        code=code_of("figures"),
        folder=subpath(output[0], parent=True),
        estimates=lambda wildcards, input: Path(input.estimates[0]).parent,
    shell:
        "apit spectrograms --scale {params.scale} --runs {input.runs} --data {input.data}"
        " --estimates {params.estimates} --output {params.folder} 2> {log}"


# The same runs, and what masking could reach.
rule listen:
    input:
        runs=expand(f"{RESULTS}/runs/{{run}}", run=HEARD),
        scores=expand(
            f"{RESULTS}/scores/{{system}}.csv.gz", system=[*HEARD, "ideal-ratio-mask"]
        ),
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
        scale=OF_SCALE,
        caption=scale.caption,
        code=code_of("listen"),
    shell:
        "apit listen --scale {params.scale} --runs {input.runs} --data {input.data}"
        " --scores {input.scores} --output {output} 2> {log}"


# Spectrograms are of estimates, which a clone without weights lacks: its report has none.
rule report:
    input:
        tables=rules.tables.output,
        figures=rules.figures.output,
        spectrograms=rules.spectrograms.output if CAN_BE_HEARD else [],
        runs=RECORDS,
        claims="configs/claims.yaml",
        text="paper/report.typ",
        parts=expand("paper/{name}", name=["layout.typ", "references.bib"]),
    output:
        pdf=in_report(
            f"{RESULTS}/report.pdf", category="Report", caption="../report/report.rst"
        ),
        origin=f"{RESULTS}/report.json",
    log:
        f"logs/{SCALE}/report.log",
    params:
        scale=OF_SCALE,
        caption=scale.caption,
        code=code_of("report"),
        tables=lambda wildcards, input: Path(input.tables[0]).parent,
        figures=lambda wildcards, input: Path(input.figures[0]).parent,
    shell:
        "apit report --scale {params.scale} --tables {params.tables} --figures {params.figures}"
        " --runs {input.runs} --source {input.text} --output {output.pdf} 2> {log}"


# Which code all this was made with, for DVC to see whether it has changed.
rule versions:
    input:
        OTHER_CODE,
    output:
        f"{RESULTS}/versions.json",
    log:
        f"logs/{SCALE}/versions.log",
    params:
        scale=OF_SCALE,
        versions=VERSIONS,
    shell:
        "apit versions --scale {params.scale} --output {output} 2> {log}"

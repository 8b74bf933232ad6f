# scores → tables and figures

TABLES = [
    "ablations",
    "discriminators",
    "replacement",
    "holes",
    "bss_eval",
    "verdicts",
    "published",
    "models",
    *(["out_of_domain"] if HELD_OUT else []),
]
FIGURES = [
    "training",
    "improvement",
    "differences",
    "replacement",
    "holes",
    "spectrograms",
]


rule tables:
    input:
        scores=SCORES,
        bss_eval=BSS_EVAL,
        out_of_domain=OUT_OF_DOMAIN,
        runs=expand(f"{RESULTS}/runs/{{run}}", run=RUNS),
        claims="configs/claims.yaml",
        reported="configs/reported.yaml",
    output:
        expand(
            f"{RESULTS}/tables/{{name}}.{{suffix}}",
            name=TABLES,
            suffix=["csv", "md", "tex"],
        ),
    log:
        f"logs/{SCALE}/tables.log",
    params:
        scale=SCALE,
        caption=scale.caption,
        folder=subpath(output[0], parent=True),
        out_of_domain=f"--out-of-domain {' '.join(OUT_OF_DOMAIN)}" if HELD_OUT else "",
    shell:
        "apit tables --scale {params.scale} --scores {input.scores} --bss-eval {input.bss_eval}"
        " {params.out_of_domain} --runs {input.runs} --output {params.folder} 2> {log}"


rule figures:
    input:
        scores=SCORES,
        runs=expand(f"{RESULTS}/runs/{{run}}", run=RUNS),
        estimates=expand(f"{RESULTS}/estimates/{{run}}", run=RUNS),
        data=PACKED,
        reported="configs/reported.yaml",
    output:
        expand(
            f"{RESULTS}/figures/{{name}}.{{suffix}}",
            name=FIGURES,
            suffix=["png", "pdf"],
        ),
    log:
        f"logs/{SCALE}/figures.log",
    params:
        scale=SCALE,
        caption=scale.caption,
        folder=subpath(output[0], parent=True),
        estimates=lambda wildcards, input: Path(input.estimates[0]).parent,
    shell:
        "apit figures --scale {params.scale} --scores {input.scores} --runs {input.runs}"
        " --estimates {params.estimates} --data {input.data} --output {params.folder} 2> {log}"

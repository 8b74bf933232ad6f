# mixtures → runs → scores

SYSTEMS = [*TRIVIAL, *RUNS, *IDEAL]  # the rows of a table
SCORES = expand(f"{RESULTS}/scores/{{system}}.csv.gz", system=SYSTEMS)
BSS_EVAL = expand(f"{RESULTS}/bss_eval/{{system}}.csv.gz", system=SYSTEMS)


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


rule train:
    input:
        data=MIXTURES,
        # The run whose training time this one gets, for an experiment with train_as_long_as.
        match=lambda wildcards: [
            f"{RESULTS}/runs/{name}-s{RUNS[wildcards.run].seed}"
            for name in [RUNS[wildcards.run].train_as_long_as]
            if name
        ],
    output:
        directory(f"{RESULTS}/runs/{{run}}"),
    log:
        f"logs/{SCALE}/train/{{run}}.log",
    benchmark:
        f"logs/{SCALE}/train/{{run}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=1,
    params:
        scale=SCALE,
        experiment=lambda wildcards: RUNS[wildcards.run].experiment,
        seed=lambda wildcards: RUNS[wildcards.run].seed,
        match=lambda wildcards, input: f"--match {input.match}" if input.match else "",
        # Of the run's own configuration: a new ablation trains itself alone.
        configuration=lambda wildcards: RUNS[wildcards.run].training_digest,
        # Checkpoints, from which a run that was killed goes on; another configuration has others.
        work=lambda wildcards: (
            f"work/{SCALE}/{wildcards.run}-{RUNS[wildcards.run].resume_digest}"
        ),
    shell:
        "apit train --scale {params.scale} --experiment {params.experiment} --seed {params.seed}"
        " {params.match} --data {input.data} --work {params.work} --output {output} 2> {log}"


rule evaluate:
    input:
        run=run_of,
        data=MIXTURES,
    output:
        scores=f"{RESULTS}/scores/{{system}}.csv.gz",
        summary=f"{RESULTS}/scores/{{system}}.summary.json",
        estimates=directory(f"{RESULTS}/estimates/{{system}}"),
    log:
        f"logs/{SCALE}/evaluate/{{system}}.log",
    benchmark:
        f"logs/{SCALE}/evaluate/{{system}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=lambda wildcards: len(run_of(wildcards)),
    params:
        scale=SCALE,
        system=system,
        stft=scale.stft.model_dump_json(),
        evaluation=scale.evaluation.model_dump_json(exclude={"bss_eval"}),
    shell:
        "apit evaluate --scale {params.scale} {params.system} --data {input.data} --spectral-holes"
        " --jobs {threads} --output {output.scores} --estimates {output.estimates} 2> {log}"


# Slow, and over the first examples alone: apart from the scores that everything else waits for.
rule bss_eval:
    input:
        run=run_of,
        data=MIXTURES,
    output:
        scores=f"{RESULTS}/bss_eval/{{system}}.csv.gz",
        summary=f"{RESULTS}/bss_eval/{{system}}.summary.json",
    log:
        f"logs/{SCALE}/bss_eval/{{system}}.log",
    benchmark:
        f"logs/{SCALE}/bss_eval/{{system}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=lambda wildcards: len(run_of(wildcards)),
    params:
        scale=SCALE,
        system=system,
        stft=scale.stft.model_dump_json(),
        evaluation=scale.evaluation.model_dump_json(),
        first=scale.evaluation.bss_eval.examples,
    shell:
        "apit evaluate --scale {params.scale} {params.system} --data {input.data} --bss-eval"
        " --first {params.first} --jobs {threads} --output {output.scores} 2> {log}"

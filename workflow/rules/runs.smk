# mixtures → runs → scores

SYSTEMS = [*TRIVIAL, *RUNS, *IDEAL]  # the rows of a table
SCORES = expand(f"{RESULTS}/scores/{{system}}.csv.gz", system=SYSTEMS)
BSS_EVAL = expand(f"{RESULTS}/bss_eval/{{system}}.csv.gz", system=SYSTEMS)


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    oracle="|".join(map(re.escape, ORACLES)),


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
        run=rules.train.output,
        data=MIXTURES,
    output:
        scores=f"{RESULTS}/scores/{{run}}.csv.gz",
        summary=f"{RESULTS}/scores/{{run}}.summary.json",
        estimates=directory(f"{RESULTS}/estimates/{{run}}"),
    log:
        f"logs/{SCALE}/evaluate/{{run}}.log",
    benchmark:
        f"logs/{SCALE}/evaluate/{{run}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=1,
    params:
        scale=SCALE,
        evaluation=scale.evaluation.model_dump_json(exclude={"bss_eval"}),
    shell:
        "apit evaluate --scale {params.scale} --run {input.run} --data {input.data} --spectral-holes"
        " --output {output.scores} --estimates {output.estimates} 2> {log}"


rule oracle:
    input:
        data=MIXTURES,
    output:
        scores=f"{RESULTS}/scores/{{oracle}}.csv.gz",
        summary=f"{RESULTS}/scores/{{oracle}}.summary.json",
    log:
        f"logs/{SCALE}/evaluate/{{oracle}}.log",
    threads: scale.training.threads
    params:
        scale=SCALE,
        evaluation=scale.evaluation.model_dump_json(exclude={"bss_eval"}),
    shell:
        "apit evaluate --scale {params.scale} --oracle {wildcards.oracle} --data {input.data}"
        " --spectral-holes --output {output.scores} 2> {log}"


# Slow, and over the first examples alone: apart from the scores that everything else waits for.
rule bss_eval:
    input:
        run=lambda wildcards: (
            [f"{RESULTS}/runs/{wildcards.system}"] if wildcards.system in RUNS else []
        ),
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
        gpu=lambda wildcards: 1 if wildcards.system in RUNS else 0,
    params:
        scale=SCALE,
        system=lambda wildcards, input: (
            f"--run {input.run}" if input.run else f"--oracle {wildcards.system}"
        ),
        evaluation=scale.evaluation.model_dump_json(),
    shell:
        "apit evaluate --scale {params.scale} {params.system} --data {input.data} --bss-eval"
        " --spectral-holes --jobs {threads} --output {output.scores} 2> {log}"

# packed mixtures → runs → scores


rule train:
    input:
        data=PACKED,
        bank=BANK if scale.training.remix == "clips" else [],
    output:
        directory(f"{RESULTS}/runs/{{run}}"),
    log:
        f"logs/{SCALE}/train/{{run}}.log",
    benchmark:
        f"logs/{SCALE}/train/{{run}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=2880,  # minutes, after which a run goes on from its checkpoint
    params:
        scale=OF_SCALE,
        # Of the run before, where this one takes its place.
        record=lambda wildcards: f"{RESULTS}/records/{wildcards.run}",
        experiment=lambda wildcards: RUNS[wildcards.run].experiment,
        seed=lambda wildcards: RUNS[wildcards.run].seed,
        bank=lambda wildcards, input: f"--bank {input.bank}" if input.bank else "",
        # Of the run's own configuration: a new ablation trains itself alone.
        configuration=lambda wildcards: RUNS[wildcards.run].training_digest,
        code=lambda wildcards: code_of_training(RUNS[wildcards.run]),
        # Checkpoints, from which a run that was killed goes on; another configuration has others.
        work=lambda wildcards: (
            f"work/{SCALE}/{wildcards.run}-{RUNS[wildcards.run].resume_digest}"
        ),
    shell:
        "case \" $ABSENT \" in *' {wildcards.run} '*) echo 'the weights of {wildcards.run} are not here: make"
        " restore, or remove {params.record} to train it anew' > {log}; exit 2;; esac; rm -rf {params.record};"
        # exec: a signal to the shell reaches the training, which writes a checkpoint.
        " exec apit train --scale {params.scale} --experiment {params.experiment} --seed {params.seed}"
        " --data {input.data} {params.bank} --work {params.work} --output {output} 2> {log}"


# What of a run is small: git keeps it, and tables need no more.
rule record:
    input:
        lambda wildcards: (
            [] if wildcards.run in ABSENT else f"{RESULTS}/runs/{wildcards.run}"
        ),
    output:
        directory(f"{RESULTS}/records/{{run}}"),
    log:
        f"logs/{SCALE}/record/{{run}}.log",
    shell:
        "(mkdir -p {output} && cp {input}/record.json {input}/history.csv {output}) 2> {log}"


# A short training with another rate and batch, of which only the record is kept: the validation split chooses.
rule trial:
    input:
        data=data_of_trial,  # other data have another digest
        bank=BANK if scale.training.remix == "clips" else [],
    output:
        directory(f"{RESULTS}/records/trials/{{trial}}"),
    log:
        f"logs/{SCALE}/trial/{{trial}}.log",
    threads: scale.training.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=1440,
    params:
        scale=OF_SCALE,
        experiment=lambda wildcards: TRIALS[wildcards.trial][0].experiment,
        seed=lambda wildcards: TRIALS[wildcards.trial][0].seed,
        settings=lambda wildcards: " ".join(
            f"--set {setting}" for setting in TRIALS[wildcards.trial][1]
        ),
        bank=lambda wildcards, input: f"--bank {input.bank}" if input.bank else "",
        data=mixing_digest(scale.audio, scale.data),
        configuration=lambda wildcards: TRIALS[wildcards.trial][0].training_digest,
        code=lambda wildcards: code_of_training(TRIALS[wildcards.trial][0]),
        work=lambda wildcards: (
            f"work/{SCALE}/trial-{wildcards.trial}-{TRIALS[wildcards.trial][0].resume_digest}"
        ),
    shell:
        "(apit train --scale {params.scale} --experiment {params.experiment} --seed {params.seed}"
        " {params.settings} --data {input.data} {params.bank} --work {params.work}"
        " --output {params.work}.run && mkdir -p {output}"
        " && cp {params.work}.run/record.json {params.work}.run/history.csv {output}"
        " && rm -rf {params.work} {params.work}.run) 2> {log}"


# Scores of the evaluation split, and BSS Eval, which is slow, of its first examples.
rule evaluate:
    input:
        run=run_of,
        data=data_of,
    output:
        scores=f"{RESULTS}/scores/{{system}}.csv.gz",
        summary=f"{RESULTS}/scores/{{system}}.summary.json",
        bss_eval=f"{RESULTS}/scores/bss_eval/{{system}}.csv.gz",
        bss_eval_summary=f"{RESULTS}/scores/bss_eval/{{system}}.summary.json",
        estimates=directory(f"{RESULTS}/estimates/{{system}}"),
    log:
        f"logs/{SCALE}/evaluate/{{system}}.log",
    benchmark:
        f"logs/{SCALE}/evaluate/{{system}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=lambda wildcards: len(run_of(wildcards)),
        runtime=480,
    params:
        scale=OF_SCALE,
        system=system,
        stft=scale.stft.model_dump_json(),
        evaluation=scale.evaluation.model_dump_json(),
        code=code_of("evaluate"),
        what=lambda wildcards, output: f"--estimates {output.estimates} --bss-eval {output.bss_eval}",
    shell:
        "apit evaluate --scale {params.scale} {params.system} --data {input.data} --spectral-holes"
        " {params.what} --jobs {threads} --output {output.scores} 2> {log}"


# Clips of packages that training never heard of, where a scale holds some out.
use rule evaluate as out_of_domain with:
    output:
        scores=f"{RESULTS}/scores/out_of_domain/{{system}}.csv.gz",
        summary=f"{RESULTS}/scores/out_of_domain/{{system}}.summary.json",
    log:
        f"logs/{SCALE}/out_of_domain/{{system}}.log",
    benchmark:
        f"logs/{SCALE}/out_of_domain/{{system}}.benchmark.tsv"
    params:
        scale=OF_SCALE,
        system=system,
        stft=scale.stft.model_dump_json(),
        evaluation=scale.evaluation.model_dump_json(exclude={"bss_eval"}),
        code=code_of("evaluate"),
        what="--split out_of_domain",

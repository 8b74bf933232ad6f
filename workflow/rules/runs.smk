# packed mixtures → runs → scores


# Git keeps what is small of a run; its weights stand apart, for DVC.
rule train:
    input:
        lambda wildcards: to_train(wildcards.name),
    output:
        *(
            f"{RESULTS}/runs/{{name}}/{{id}}/{file}"
            for file in ("record.json", "history.csv", "identity.json")
        ),
        weights=f"{RESULTS}/weights/{{name}}/{{id}}.safetensors",
    log:
        f"logs/{SCALE}/train/{{name}}-{{id}}.log",
    benchmark:
        f"logs/{SCALE}/train/{{name}}-{{id}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=2880,  # minutes, after which a run goes on from its checkpoint
    params:
        run=lambda wildcards: as_run(wildcards.name),
        data=OF_DATA,
        folder=subpath(output[0], parent=True),
        work=lambda wildcards: checkpoints_of(wildcards.name),
    shell:
        # exec: a signal to the shell reaches the training, which writes a checkpoint.
        f"exec apit train --scale {OF_SCALE}"
        " {params.run} {params.data} --work {params.work}"
        " --output {params.folder} --weights {output.weights} 2> {log}"


# The last checkpoint of a run, for its forks: it lies in `work`; where that is gone, the run is trained again (on the same CPU
# to the same bits), and its record and weights stay as they are.
rule end:
    input:
        lambda wildcards: to_make(
            end_of(Path(RUNS[wildcards.name])),
            f"{RUNS[wildcards.name]}/record.json",
            PACKED,
            *BANK,
        ),
    output:
        f"{RESULTS}/weights/{{name}}/{{id}}.end.pt",
    log:
        f"logs/{SCALE}/end/{{name}}-{{id}}.log",
    threads: scale.training.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=2880,
    params:
        run=lambda wildcards: as_run(wildcards.name),
        data=OF_DATA,
        work=lambda wildcards: checkpoints_of(wildcards.name),
    shell:
        f"(apit train --scale {OF_SCALE}"
        " {params.run} {params.data} --work {params.work} --output {params.work}-again"
        " && cp {params.work}/step-*.pt {output} && rm -rf {params.work}-again) 2> {log}"


# A short training with another rate and batch, of which no weights are kept: the validation split chooses.
rule trial:
    input:
        lambda wildcards: to_make(
            TODAY[f"{RESULTS}/trials/{wildcards.name}"], PACKED, *BANK
        ),
    output:
        *(
            f"{RESULTS}/trials/{{name}}/{{id}}/{file}"
            for file in ("record.json", "history.csv", "identity.json")
        ),
    log:
        f"logs/{SCALE}/trial/{{name}}-{{id}}.log",
    threads: scale.training.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=1440,
    params:
        run=lambda wildcards: "--experiment {} --seed {}".format(
            made.trials[wildcards.name][0], scale.tuning.seed
        ),
        settings=lambda wildcards: " ".join(
            f"--set {setting}" for setting in made.trials[wildcards.name][1]
        ),
        data=OF_DATA,
        folder=subpath(output[0], parent=True),
        work=f"work/{SCALE}/trial-{{name}}-{{id}}",
    shell:
        f"(apit train --scale {OF_SCALE}"
        " {params.run} {params.settings} {params.data} --work {params.work}"
        " --output {params.folder} --weights {params.work}/weights.safetensors && rm -rf {params.work}) 2> {log}"


# Scores of all splits that are for it, and BSS Eval, which is slow, of the first examples.
rule evaluate:
    input:
        lambda wildcards: to_score(wildcards.name),
    output:
        *(f"{RESULTS}/scores/{{name}}/{{id}}/{file}" for file in SCORED),
        estimates=directory(f"{RESULTS}/estimates/{{name}}/{{id}}"),
    log:
        f"logs/{SCALE}/evaluate/{{name}}-{{id}}.log",
    benchmark:
        f"logs/{SCALE}/evaluate/{{name}}-{{id}}.benchmark.tsv"
    threads: scale.training.threads
    resources:
        gpu=lambda wildcards: int(wildcards.name in RUNS),
        runtime=480,
    params:
        system=lambda wildcards: (
            f"--run {RUNS[wildcards.name]}"
            if wildcards.name in RUNS
            else f"--oracle {wildcards.name}"
        ),
        data=PACKED,
        folder=subpath(output[0], parent=True),
    shell:
        f"apit evaluate --scale {OF_SCALE}"
        " {params.system} --data {params.data} --jobs {threads}"
        " --output {params.folder} --estimates {output.estimates} 2> {log}"


if made.look:

    # Which experiments need more seeds than the first three. What it says, the rest of the workflow waits for.
    checkpoint look:
        input:
            to_make(TODAY[made.look], *scores_of(made.at_first)),
        output:
            f"{RESULTS}/look/{{id}}/look.json",
            f"{RESULTS}/look/{{id}}/identity.json",
        log:
            f"logs/{SCALE}/look-{{id}}.log",
        params:
            folder=subpath(output[0], parent=True),
        shell:
            f"apit look --scale {OF_SCALE} --output {{params.folder}} 2> {{log}}"

# clips → bank → mixtures in the FUSS layout → packed; or FUSS itself, which is mixed already


rule fetch:
    output:
        directory(f"{DATA}/{'packed' if scale.data.recipe is None else 'clips'}/{{id}}"),
    log:
        f"logs/{SCALE}/fetch/{{id}}.log",
    resources:
        runtime=1440,
    shell:
        f"apit fetch --scale {OF_SCALE} --output {{output}} 2> {{log}}"


if scale.data.recipe is not None:

    rule bank:
        input:
            to_make(TODAY[f"{DATA}/bank"], *filter(None, [TODAY.get(f"{DATA}/clips")])),
        output:
            directory(f"{DATA}/bank/{{id}}"),
        log:
            f"logs/{SCALE}/bank/{{id}}.log",
        threads: 16  # or as many as there are
        resources:
            runtime=480,
        params:
            clips=lambda wildcards, input: f"--clips {input}" if input else "",
        shell:
            f"apit bank --scale {OF_SCALE} {{params.clips}} --jobs {{threads}} --output {{output}} 2> {{log}}"

    rule mix:
        input:
            to_make(TODAY[f"{DATA}/mixtures"], TODAY[f"{DATA}/bank"]),
        output:
            directory(f"{DATA}/mixtures/{{id}}"),
        log:
            f"logs/{SCALE}/mix/{{id}}.log",
        threads: 16
        resources:
            runtime=480,
        shell:
            f"apit mix --scale {OF_SCALE} --bank {{input}} --jobs {{threads}} --output {{output}} 2> {{log}}"

    rule pack:
        input:
            to_make(PACKED, TODAY[f"{DATA}/mixtures"]),
        output:
            directory(f"{DATA}/packed/{{id}}"),
        log:
            f"logs/{SCALE}/pack/{{id}}.log",
        resources:
            runtime=480,
        shell:
            "apit pack {input} --output {output} 2> {log}"

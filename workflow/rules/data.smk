# clips → mixtures in the FUSS layout; or FUSS itself, which is mixed already

sounds = scale.data.sounds
own_clips = config.get("clips")
if own_clips and sounds.kind == "fuss":
    raise WorkflowError(
        f"scale {SCALE} is mixed already: clips={own_clips} needs another"
    )
MIXTURES = f"{DATA}/mixtures"


if sounds.kind != "procedural":

    rule fetch:
        output:
            directory(MIXTURES if sounds.kind == "fuss" else f"{DATA}/clips"),
        log:
            f"logs/{SCALE}/fetch.log",
        resources:
            runtime=1440,
        params:
            scale=SCALE,
            # What is fetched, wherever it is fetched from.
            sounds=sounds.model_dump_json(exclude={"name", "address"}),
        shell:
            "apit fetch --scale {params.scale} --output {output} 2> {log}"


if sounds.kind != "fuss":

    rule mix:
        input:
            own_clips or (rules.fetch.output if sounds.kind == "package" else []),
        output:
            directory(MIXTURES),
        log:
            f"logs/{SCALE}/mix.log",
        benchmark:
            f"logs/{SCALE}/mix.benchmark.tsv"
        threads: 16  # or as many as there are
        resources:
            runtime=480,
        params:
            scale=SCALE,
            clips=lambda wildcards, input: (
                f"--clips {shlex.quote(str(input))}" if input else ""
            ),
            mixing=mixing_digest(scale),
        shell:
            "apit mix --scale {params.scale} {params.clips} --jobs {threads} --output {output} 2> {log}"

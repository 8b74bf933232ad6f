# clips → mixtures in the FUSS layout

own_clips = config.get("clips")
fetches_clips = scale.data.sounds.kind == "package" and not own_clips


rule clips:
    output:
        directory(f"{DATA}/clips"),
    log:
        f"logs/{SCALE}/clips.log",
    params:
        scale=SCALE,
    shell:
        "apit clips --scale {params.scale} --output {output} 2> {log}"


rule mix:
    input:
        rules.clips.output if fetches_clips else (own_clips or []),
    output:
        directory(f"{DATA}/mixtures"),
    log:
        f"logs/{SCALE}/mix.log",
    benchmark:
        f"logs/{SCALE}/mix.benchmark.tsv"
    threads: workflow.cores
    params:
        scale=SCALE,
        clips=lambda wildcards, input: (
            f"--clips {shlex.quote(str(input))}" if input else ""
        ),
        mixing=mixing_digest(scale),
    shell:
        "apit mix --scale {params.scale} {params.clips} --jobs {threads} --output {output} 2> {log}"

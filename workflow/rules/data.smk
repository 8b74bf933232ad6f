# clips → bank → mixtures in the FUSS layout → packed; or FUSS itself, which is mixed already

sounds = scale.data.sounds
own = {name: config.get(name) for name in ("clips", "rooms")}
if sounds.kind == "fuss" and any(own.values()):
    raise WorkflowError(f"scale {SCALE} is mixed already: clips and rooms need another")
if sounds.kind == "folder" and not own["clips"]:
    raise WorkflowError(f"scale {SCALE} mixes a folder of yours: add clips=FOLDER")
if (
    not HELD_OUT
    and own["clips"]
    and workflow.exec_mode == ExecMode.DEFAULT  # not in a job of another Snakemake
    and (held_out := load_scale(SCALE).data.recipe.held_out)
):
    print(
        f"{own['clips']} takes the place of the sounds of {SCALE}: {', '.join(held_out)} is not"
        " held out, and nothing is scored out of domain",
        file=sys.stderr,
    )
BANK = f"{DATA}/bank"
PACKED = f"{DATA}/packed"


if sounds.kind in ("packages", "fuss"):

    rule fetch:
        output:
            directory(PACKED if sounds.kind == "fuss" else f"{DATA}/clips"),
        log:
            f"logs/{SCALE}/fetch.log",
        resources:
            runtime=1440,
        params:
            scale=OF_SCALE,
            # What is fetched, wherever it is fetched from.
            sounds=sounds.model_dump_json(exclude={"name", "address"}),
        shell:
            "apit fetch --scale {params.scale} --output {output} 2> {log}"


if sounds.kind != "fuss":

    rule bank:
        input:
            clips=own["clips"]
            or (rules.fetch.output if sounds.kind == "packages" else []),
            rooms=own["rooms"] or [],
        output:
            directory(BANK),
        log:
            f"logs/{SCALE}/bank.log",
        benchmark:
            f"logs/{SCALE}/bank.benchmark.tsv"
        threads: 16  # or as many as there are
        resources:
            runtime=480,
        params:
            scale=OF_SCALE,
            folders=lambda wildcards, input: " ".join(
                f"--{name} {shlex.quote(str(folder))}"
                for name, folder in input.items()
                if folder
            ),
            bank=bank_digest(scale.audio, scale.data),
            code=code_of("bank"),
        shell:
            "apit bank --scale {params.scale} {params.folders} --jobs {threads} --output {output}"
            " 2> {log}"

    rule mix:
        input:
            rules.bank.output,
        output:
            directory(f"{DATA}/mixtures"),
        log:
            f"logs/{SCALE}/mix.log",
        benchmark:
            f"logs/{SCALE}/mix.benchmark.tsv"
        threads: 16
        resources:
            runtime=480,
        params:
            scale=OF_SCALE,
            mixing=mixing_digest(scale.audio, scale.data),
            code=code_of("mix"),
        shell:
            "apit mix --scale {params.scale} --bank {input} --jobs {threads} --output {output} 2> {log}"

    rule pack:
        input:
            rules.mix.output,
        output:
            directory(PACKED),
        log:
            f"logs/{SCALE}/pack.log",
        resources:
            runtime=480,
        params:
            code=code_of("pack"),
        shell:
            "apit pack {input} --output {output} 2> {log}"

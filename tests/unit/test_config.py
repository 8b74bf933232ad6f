import os
import shutil

import pytest

from apit.errors import UserError
from apit.layers import (
    experiment_names,
    load_claims,
    load_reported,
    load_run,
    load_scale,
    load_scoring,
    own_folders_settings,
    reported_for,
    scale_names,
    trial_settings,
)


def test_every_name_of_the_method_is_an_experiment():
    domains = ("wave", "stft", "mask")
    assert set(experiment_names()) == {
        *("pit", "pit-tdcnpp", "pit-long", "pit-random", "inst-all", "ctx-all", "six"),
        *(f"ctx-{d}-i{i}{m}" for d in domains for i in range(4) for m in ("", "-m")),
        *(f"{kind}-{d}" for d in domains for kind in ("inst", "both", "pit-ctx")),
        *(f"pit-ctx-{d}-i0" for d in domains),
        *("pit-ctx-all", "pit-inst-all", "pit-six"),
        *("fork-pit", "fork-pit-aa", "fork-pit-ctx-stft", "fork-pit-six", "fork-ctx-stft-i3-m"),
    }
    assert set(scale_names()) == {"smoke", "smoke-all", "mini", "paper", "dry", "fuss-recipe"}


def test_the_papers_values_stand_at_paper_scale():
    run = load_run("paper", "six", 0)
    training = run.training
    assert (training.batch_size, training.learning_rate, training.steps) == (128, 1e-4, 500_000)
    assert (run.separator.unet.masks, run.separator.unet.consistency) == ("softmax", "inference")
    assert run.separator.unet.channels == (256, 512, 512, 512)
    assert run.reconstruction == "none"
    scale = load_scale("paper")
    assert scale.seeds == (0, 1, 2)
    assert scale.names == [name for name in experiment_names() if not name.startswith("fork-")]
    tuning = scale.tuning
    assert tuning.grid == {
        "training.learning_rate": (1e-5, 1e-4, 1e-3),
        "training.batch_size": (16, 32, 64, 96, 128),
    }
    baseline = load_run("paper", "pit-tdcnpp", 0)
    assert (baseline.training.batch_size, baseline.separator.tdcnpp.masks) == (3, "sigmoid")
    assert baseline.separator.tdcnpp.consistency == "training"


def test_a_scale_may_be_like_another(configs):
    dry, paper = (load_scale(name, configs=configs) for name in ("dry", "paper"))
    assert dry.model_copy(update={"data": paper.data}) == paper != dry
    path = configs / "alike.yaml"
    path.write_text("like: papr\n")
    try:
        with pytest.raises(
            UserError, match=r"alike\.yaml: no scale is called 'papr'; did you mean"
        ):
            load_scale("alike", configs=configs)
        path.write_text("like: smoke-all\nexperiments: [pit]\n")  # which is like smoke
        assert load_scale("alike", configs=configs).audio.seconds == 1
        path.write_text("like: alike\n")
        with pytest.raises(UserError, match=r"alike\.yaml: like: alike is itself like this scale"):
            load_scale("alike", configs=configs)
        path.write_text("like: paper\ntraining: {stepz: 3}\n")
        with pytest.raises(UserError, match=r"alike\.yaml: training\.stepz: .*did you mean steps"):
            load_scale("alike", configs=configs)
    finally:
        path.unlink()


def test_names_say_what_entries_do():
    for entry in experiment_names():
        run, name = load_run("smoke", entry, 0), entry.removeprefix("fork-")
        assert (run.start_from is not None) == (name != entry)
        if len(run.discriminators) == 1 and not name.startswith("pit-"):
            assert run.discriminators[0].name == name
        assert (run.reconstruction == "none") != name.startswith("pit")
    assert len(load_run("smoke", "six", 0).discriminators) == 6
    six = load_run("smoke", "six", 0).discriminators
    long = load_run("smoke", "pit-long", 0)
    assert long.as_costly_as == load_run("smoke", "pit-six", 0)
    assert long.as_costly_as.discriminators == six
    pit, long = (load_run("paper", name, 0).training for name in ("pit", "pit-long"))
    assert (long.learning_rate, long.batch_size) == (pit.learning_rate, pit.batch_size)
    frozen = load_run("smoke", "pit-random", 0).discriminators
    assert [d.model_copy(update={"frozen": False}) for d in frozen] == list(six)


def rows(*listed):
    """The setting that a scale has these experiments."""
    return f"experiments=[{', '.join(listed)}]"


def test_what_was_tuned_is_that_of_its_experiment_alone(configs):
    tuned = "{name: ctx-wave-i0, training: {learning_rate: 0.1, batch_size: 4}}"
    settings = [rows("pit", tuned, "ctx-wave-i1")]

    def training(experiment, *more):
        return load_run("tiny", experiment, 0, [*settings, *more], configs).training

    assert (training("ctx-wave-i0").learning_rate, training("ctx-wave-i0").batch_size) == (0.1, 4)
    assert training("ctx-wave-i1").learning_rate == 5e-4
    assert training("ctx-wave-i0", "training.learning_rate=2.0").learning_rate == 2
    assert load_run("tiny", "pit", 0, settings, configs).adversary is None
    with pytest.raises(UserError, match="no experiment is called 'ctx-wav'; did you mean ctx-"):
        load_scale("tiny", [rows("{name: ctx-wav, training: {batch_size: 2}}")], configs)
    with pytest.raises(UserError, match=r"training\.batch: unknown key"):
        load_run("tiny", "pit", 0, [rows("{name: pit, training: {batch: 2}}")], configs)
    with pytest.raises(UserError, match=r"experiments\.0\.trainin: unknown key; did you mean tra"):
        load_scale("tiny", [rows("{name: pit, trainin: {batch_size: 2}}")], configs)


def test_an_experiment_may_override_keys_of_its_scale():
    run = load_run("smoke", "pit", 0, ["experiment.separator={unet: {masks: sigmoid}}"])
    assert run.separator.unet.masks == "sigmoid"
    assert run.separator.unet.channels == load_run("smoke", "pit", 0).separator.unet.channels
    run = load_run(
        "smoke", "six", 0, ["experiment.adversary={shift: 0}", "adversary.mask.floor_db=-40"]
    )
    assert (run.adversary.shift, run.adversary.mask.floor_db) == (0, -40)
    run = load_run("smoke", "pit", 0, ["experiment.training={batch_size: 3}"])
    assert run.training.batch_size == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["experiment.reconstruction=none"], "none leaves nothing to learn from"),
        (["experiment.as_costly_as=sixx"], "no experiment is called 'sixx'; did you mean six"),
        (["experiment.as_costly_as=pit"], "as_costly_as: pit is the experiment itself"),
        (["experiment.start_from=pti"], "no experiment is called 'pti'; did you mean pit"),
        (["experiment.start_from=pit"], "start_from: pit is the experiment itself"),
        (["experiment.start_from=fork-pit"], "start_from: pit is the experiment itself"),
        (
            ["experiment.start_from=pit-tdcnpp"],
            "pit: start_from: the separator of pit-tdcnpp is an",
        ),
        (["experiment.warm_up=3"], "warm_up: there is no discriminator to be trained"),
        (["experiment.batches=a/b"], r"batches: String should match"),
        (["training.betas=[1.0, 0.9]"], r"training\.betas.*less than 1"),
    ],
)
def test_an_experiment_that_says_too_little_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        load_run("smoke", "pit", 0, settings)


def test_a_discriminator_sees_whole_mixtures_alone():
    said = (
        r"experiments.yaml: six: training\.crop_seconds: 0.5 s are not the whole mixture of 1.0 s"
    )
    with pytest.raises(UserError, match=said):
        load_run("smoke", "six", 0, ["training.crop_seconds=0.5"])
    load_run("smoke", "pit", 0, ["training.crop_seconds=0.5"])


def test_an_experiment_may_have_seeds_of_its_own(configs):
    settings = [rows("pit", "{name: ctx-all, seeds: [3]}", "pit-long"), "seeds=[3, 5]"]
    scale = load_scale("tiny", settings, configs)
    every = [("pit", 3), ("pit", 5), ("ctx-all", 3), ("pit-long", 3), ("pit-long", 5)]
    assert scale.runs == every
    with pytest.raises(UserError, match="experiments: pit is listed twice"):
        load_scale("tiny", [rows("pit", "pit")], configs)
    with pytest.raises(UserError, match=r"experiments\.0\.seeds"):
        load_scale("tiny", [rows("{name: pit, seeds: []}")], configs)


def test_trials_fall_as_runs_do_in_fewer_steps(configs):
    axes = "{training.learning_rate: [1e-4, 1e-3], training.batch_size: [2, 6]}"
    grid = f"tuning={{grid: {axes}, steps: 2, seed: 9}}"
    settings = [grid, "training.lr_step=3", rows("{name: pit, training: {lr_step: 2}}")]
    scale = load_scale("tiny", settings, configs)
    run = load_run("tiny", "pit", 0, settings, configs)
    points = list(scale.tuning.points(discriminators=False))
    assert [(*point.values(),) for point in points] == [(1e-4, 2), (1e-4, 6), (1e-3, 2), (1e-3, 6)]
    assert trial_settings(run, scale.tuning, points[-1]) == [
        "training.learning_rate=0.001",
        "training.batch_size=6",
        "training.grad_accum_steps=3",  # parts of two, as the run has
        "training.steps=2",
        "training.lr_step=1",
    ]
    baseline = load_run("paper", "pit-tdcnpp", 0)
    told = trial_settings(baseline, load_scale("paper").tuning, {"training.batch_size": 128})
    assert "training.grad_accum_steps=64" in told
    with pytest.raises(UserError, match=r"tuning\.seed: 0 is one of the seeds of runs, too"):
        load_scale("tiny", [grid.replace("seed: 9", "seed: 0")], configs)
    with pytest.raises(UserError, match=r"separator\.unet\.depth: is no key of training or advers"):
        load_scale("tiny", [grid.replace("training.batch_size", "separator.unet.depth")], configs)
    with pytest.raises(UserError, match=r"tuning\.grid\.training\.batch_size"):
        load_scale("tiny", [grid.replace("[2, 6]", "[]")], configs)


def test_a_grid_of_critics_is_for_those_that_have_some(configs):
    axes = "{training.learning_rate: [1e-4, 1e-3], adversary.*.learning_rate: [2e-3, 4e-3]}"
    settings = [f"tuning={{grid: {axes}, steps: 2, seed: 9}}"]
    tuning = load_scale("tiny", settings, configs).tuning
    assert [(*point.values(),) for point in tuning.points(discriminators=False)] == [
        (1e-4,),
        (1e-3,),
    ]
    *_, last = tuning.points(discriminators=True)
    assert last == {"training.learning_rate": 1e-3, "adversary.*.learning_rate": 4e-3}
    run = load_run("tiny", "ctx-stft-i0", 0, settings, configs)
    assert trial_settings(run, tuning, last)[:4] == [
        "training.learning_rate=0.001",
        *(f"adversary.{domain}.learning_rate=0.004" for domain in ("wave", "stft", "mask")),
    ]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.setps=40", "--set: training.setps: unknown key; did you mean steps?"),
        ("separater.architecture=unet", "--set: separater: unknown key; did you mean separator?"),
        ("training.steps=many", r"--set: training.steps: .*valid integer.* \(it is 'many'\)"),
        ("training.steps=1.5", "--set: training.steps: .*valid integer"),
        ("training.steps=0", "--set: training.steps: .*greater than 0"),
        ("separator.unet.masks=relu", "--set: separator.unet.masks: .*'softmax' or 'sigmoid'"),
        (
            "data.sounds.clips=3",
            "--set: data.sounds.clips: unknown key; there are kind, clips_per_family",
        ),
        ("training.crop_seconds=2.0", "crop_seconds: 2.0 s exceed"),
        ("data.recipe.foregrounds=[0,4]", "4 foregrounds and one background are more than"),
        ("data.recipe=null", "data: recipe: is null, and these sounds need one"),
        (
            "data.recipe.held_out=[a]",
            "data.recipe: examples: lack out_of_domain, and held_out names folders for it",
        ),
        ("experiment=foo", "must hold keys and values"),
        ("training.crop_seconds=0.00001", "do not fit crops"),
        ("stft.hop=0.00001", "do not fit crops"),
        ("evaluation.hole_depths_db=[3, 6]", "lacks 15"),
        ("steps", "write key=value"),
        ("training.steps=[1", "not valid YAML"),
        ("experiment.discriminators=[{kind: context, domain: stft, replace: 4}]", "leaves no fake"),
        (
            "experiment.discriminators=[{kind: context, domain: stft, replace: -1}]",
            "greater than or",
        ),
        ("experiment.discriminators=[{kind: instance, domain: stft, replace: 1}]", "no context"),
        ("experiment.discriminators=[{kind: context, domain: sftf}]", "'wave', 'stft' or 'mask'"),
        ("experiment.reconstrution=si_snr", "unknown key; did you mean reconstruction"),
        (
            "experiment.separator={tdcnpp: {blokcs: 3}}",
            "--set experiment: separator.tdcnpp.blokcs: unknown key; did you mean",
        ),
    ],
)
def test_errors_name_file_key_and_the_nearest_valid_one(setting, said):
    with pytest.raises(UserError, match=said):
        load_run("smoke", "pit", 0, [setting])


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="no scale is called 'smok'; did you mean smoke"):
        load_scale("smok")
    with pytest.raises(
        UserError, match="no experiment is called 'ctx-stfti1'; did you mean ctx-stft"
    ):
        load_run("smoke", "ctx-stfti1", 0)


def test_errors_in_files_name_the_file(configs, tmp_path):
    copy = shutil.copytree(configs, tmp_path / "configs")
    text = (copy / "tiny.yaml").read_text()
    for old, new, said in (
        ("steps: 4", "setps: 4", r"tiny.yaml: training.setps: unknown key; did you mean steps"),
        ("steps: 4", "steps: 4, steps: 5", "tiny.yaml: is not valid YAML"),
        (
            "experiments: [pit",
            "experiments: [pti",
            "experiments.yaml: no experiment .*did you mean",
        ),
        ("caption: Scale tiny, for tests.", "", "caption: is missing"),
    ):
        assert old in text
        (copy / "tiny.yaml").write_text(text.replace(old, new))
        with pytest.raises(UserError, match=said):
            load_scale("tiny", configs=copy)
    with pytest.raises(UserError, match="run from the repository's root"):
        load_run("tiny", "pit", 0, configs=tmp_path)


def test_a_key_of_an_experiment_reaches_its_run_alone():
    wide = load_run("smoke", "pit", 0, ["experiment.separator={unet: {depth: 7}}"])
    assert wide.separator.unet.depth == 7
    assert wide.separator.unet.channels == load_run("smoke", "pit", 0).separator.unet.channels
    assert wide != load_run("smoke", "pit", 0)


def test_published_numbers_say_where_they_were_read(configs, tmp_path):
    ours = [r for r in load_reported() if r.data == load_scale("paper").data.sounds.name]
    values = {r.experiment: r.values["2-4"] for r in ours if r.experiment}
    assert values == {
        "pit-six": 13.8, "pit-tdcnpp": 12.8, "pit": 12.4, "ctx-wave-i3-m": 12.1, "six": 12.9,
        "ideal-ratio-mask": 25.3,
    }  # fmt: skip
    assert {(r.metric, r.read_in) for r in ours} == {("A", "arXiv 2210.12108v2, text")}
    copy = shutil.copytree(configs, tmp_path / "configs")
    path = copy / "reported.yaml"
    path.write_text(path.read_text().replace("read_in", "read"))
    assert reported_for(load_scale("paper")) == ours
    assert reported_for(load_scale("mini")) == reported_for(load_scale("smoke")) == []
    assert reported_for(load_scale("paper", ["data.sounds.name=dry FUSS"])) == []
    with pytest.raises(UserError, match=r"reported.yaml: entry 1: read_in: is missing"):
        load_reported(copy)


def test_a_claim_about_an_unknown_experiment_is_refused(configs, tmp_path):
    copy = shutil.copytree(configs, tmp_path / "configs")
    path = copy / "claims.yaml"
    path.write_text(path.read_text().replace("baseline: pit}", "baseline: pitt}"))
    with pytest.raises(UserError, match=r"claims.yaml: .*pitt.*did you mean pit"):
        load_claims(copy)


def test_estimates_that_belong_to_no_scale_are_scored_as_the_method_says(configs):
    scoring = load_scoring(["evaluation.resamples=7"], configs)
    assert (scoring.audio.sources, scoring.stft.hop) == (4, 0.008)
    assert scoring.evaluation.resamples == 7
    with pytest.raises(UserError, match=r"--set: evaluation.resample: unknown key; did you mean"):
        load_scoring(["evaluation.resample=7"], configs)


def test_the_sizes_of_the_other_architecture_do_not_matter_to_a_run():
    wider = ["separator.unet.depth=7"]
    assert load_run("smoke", "pit-tdcnpp", 0, wider) == load_run("smoke", "pit-tdcnpp", 0)
    assert load_run("smoke", "pit", 0, wider) != load_run("smoke", "pit", 0)


@pytest.mark.parametrize("address", ["''", "zenodo.org/x.tar.gz", "https://zenodo.org/"])
def test_an_address_that_names_no_archive_is_refused(address):
    with pytest.raises(UserError, match=r"--set: data\.sounds\.address: .*pattern"):
        load_scale("paper", [f"data.sounds.address={address}"])


def test_what_a_scale_holds_out_of_its_packages_does_not_apply_to_ones_own_clips():
    mini = load_scale("mini")
    assert mini.data.recipe.held_out == ("flare-game",)
    own = load_scale("mini", own_folders_settings(mini, "mine", None))
    assert own.data.sounds.kind == "folder"
    assert own.data.recipe.held_out == ()
    assert set(own.data.recipe.examples) == {"train", "validation", "eval"}
    both = load_scale("mini", ["data.recipe.held_out=[mine, flare-game]"])
    own = load_scale("mini", own_folders_settings(both, "mine", None))
    assert own.data.recipe.held_out == ("mine",)
    assert "out_of_domain" in own.data.recipe.examples
    assert own_folders_settings(load_scale("smoke"), "mine", None) == [
        *("data.sounds.kind=folder", 'data.sounds.folder="mine"')
    ]
    assert own_folders_settings(own, None, None) == []


@pytest.mark.parametrize("name", [b"caf\xe9", "a “b” ☃ 🦆 \\ #".encode() + b"\xff"])
def test_names_of_folders_may_be_any_bytes(name):
    folder = os.fsdecode(name)
    settings = own_folders_settings(load_scale("smoke"), folder, None)
    assert load_scale("smoke", settings).data.sounds.folder == folder
    given = ["data.sounds.kind=folder", f"data.sounds.folder={folder}"]
    assert load_scale("smoke", given).data.sounds.folder == folder


def test_folders_of_ones_own_are_refused_where_they_have_no_place_and_asked_for_where_needed():
    fuss_recipe = load_scale("fuss-recipe")
    for scale, clips, rooms, said in (
        (load_scale("paper"), "mine", None, "is mixed already: clips and rooms of your own"),
        (load_scale("smoke"), None, "halls", r"rooms: data\.recipe\.rooms has no kind: recorded"),
        (fuss_recipe, None, "halls", "mixes a folder of yours: add clips=FOLDER"),
        (fuss_recipe, "mine", None, "has recorded rooms of yours: add rooms=FOLDER"),
    ):
        with pytest.raises(UserError, match=said):
            own_folders_settings(scale, clips, rooms)
    both = load_scale("fuss-recipe", own_folders_settings(fuss_recipe, "mine", "halls"))
    assert (both.data.sounds.folder, both.data.recipe.rooms.folder) == ("mine", "halls")
    assert own_folders_settings(load_scale("paper"), None, None) == []


def test_nothing_held_out_leaves_no_split_of_it():
    scale = load_scale("mini", ["data.recipe.held_out=[]"])
    assert set(scale.data.recipe.examples) == {"train", "validation", "eval"}


def test_a_fork_has_the_parent_that_its_scale_trains():
    tuned = rows("{name: pit, training: {learning_rate: 0.1, steps: 9}}", "fork-pit")
    fork = load_run("smoke", "fork-pit", 3, [tuned, "stft.hop=0.008", "experiment.batches=b"])
    parent = load_run("smoke", "pit", 3, [tuned, "stft.hop=0.008"])
    assert fork.start_from == parent
    assert (parent.training.learning_rate, parent.training.steps, parent.batches) == (0.1, 9, None)
    assert (fork.training.learning_rate, fork.training.steps, fork.batches) == (2e-4, 600, "b")
    with pytest.raises(UserError, match="fork-ctx-stft-i3-m: start_from: fork-pit is itself a for"):
        load_run("smoke", "fork-ctx-stft-i3-m", 0, ["experiment.start_from=fork-pit"])

import json
import os

import pytest

from apit.artefacts import Artefacts
from apit.errors import UserError
from apit.files import whole_folder
from apit.identity import Identity, Stamp, differences, is_made, stamp_of, to_resume
from apit.layers import load_run, load_scale, own_folders_settings
from apit.training.identities import of_run

DATA = Stamp("00000000", "11111111")


def of(*settings, experiment="pit", data=DATA):
    return of_run(load_run("smoke", experiment, 0, settings), data)


def test_an_identity_is_written_and_read_again(tmp_path):
    identity = of()
    identity.write(tmp_path)
    assert Identity.read(tmp_path) == identity
    assert is_made(tmp_path, identity)
    assert not is_made(tmp_path, of("training.steps=41"))
    assert Identity.read(tmp_path / "nothing") is None


def test_it_changes_with_configuration_inputs_and_code_and_with_nothing_else():
    identity = of()
    assert identity.id == of().id
    assert identity.id != of("training.steps=41").id
    assert identity.id != of(data=Stamp("00000001", "11111111")).id
    assert identity.id != Identity("run", identity.configuration, identity.inputs, "other").id
    for unrelated in ("evaluation.resamples=10", "seeds=[0, 1, 2]", "caption=another"):
        assert of(unrelated).id == identity.id
    alone = of("experiments=[ctx-wave-i2]", experiment="ctx-wave-i2")  # not one that was tuned
    assert alone.id == of(experiment="ctx-wave-i2").id
    heavier = "adversary.pit_weight=0.7"
    assert of(heavier).id == identity.id  # which has no adversary
    assert of(heavier, experiment="six").id != of(experiment="six").id
    wider = "separator.unet.depth=7"
    assert of(wider).id != identity.id
    assert of(wider, experiment="pit-tdcnpp").id == of(experiment="pit-tdcnpp").id


def test_data_depend_on_nothing_of_a_training():
    scale, other = Artefacts("smoke"), Artefacts("smoke", ["training.steps=41"])
    for kind in ("bank", "mixtures", "packed"):
        assert scale.at(f"data/smoke/{kind}") == other.at(f"data/smoke/{kind}")
    other = Artefacts("smoke", ["data.recipe.seed=7"])
    for kind in ("bank", "mixtures", "packed"):
        assert scale.at(f"data/smoke/{kind}") != other.at(f"data/smoke/{kind}")
    other = Artefacts("smoke", ["data.recipe.overhang=moved", "data.recipe.fade_seconds=0.002"])
    assert scale.at("data/smoke/bank") == other.at("data/smoke/bank")
    assert scale.at("data/smoke/mixtures") != other.at("data/smoke/mixtures")


def test_without_code_it_is_the_same_for_other_code_alone_however_far_up():
    identity = of()
    other = Identity(
        "run", identity.configuration, {"data": Stamp("99999999", "11111111")}, "other"
    )
    assert other.id != identity.id
    assert other.stamp.without_code == identity.stamp.without_code
    assert of("training.steps=41").stamp.without_code != identity.stamp.without_code


def test_an_edited_one_is_refused(tmp_path):
    of().write(tmp_path)
    path = tmp_path / "identity.json"
    content = json.loads(path.read_text())
    content["configuration"]["seed"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"identity\.json: says \w{8}, and is \w{8}; it was edited"):
        Identity.read(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"identity\.json: cannot be read"):
        Identity.read(tmp_path)


def test_a_longer_run_may_go_on_from_a_shorter_one():
    assert to_resume(of()).id == to_resume(of("training.steps=41")).id
    assert to_resume(of()).id != to_resume(of("training.batch_size=4")).id


def test_differences_name_keys_and_both_values():
    one, other = of(), of("training.batch_size=4", "training.steps=41")
    assert list(differences(one.configuration, other.configuration, "configuration")) == [
        ("configuration.training.batch_size", "training.batch_size is 4 and was 16"),
        ("configuration.training.steps", "training.steps is 41 and was 600"),
    ]


def test_where_sounds_are_and_what_they_are_called_is_no_matter():
    fuss, elsewhere = (
        Artefacts("paper", settings).identities["data/paper/packed"].id
        for settings in ((), ("data.sounds.address=https://mirror/FUSS.tar.gz",))
    )
    assert fuss == elsewhere
    other = "data.sounds.sha256=" + 64 * "a"
    assert Artefacts("paper", [other]).identities["data/paper/packed"].id != fuss


def test_a_folder_without_identity_is_its_files_names_sizes_and_dates(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"1")
    first = stamp_of(folder)
    assert stamp_of(folder) == first
    assert stamp_of(folder.rename(tmp_path / "moved")) == first
    (tmp_path / "moved" / "b.wav").write_bytes(b"2")
    assert stamp_of(tmp_path / "moved") != first
    archives = [tmp_path / name for name in ("a.tar", "b.tar")]
    for content, archive in zip((b"1", b"12"), archives, strict=True):
        archive.write_bytes(content)
    first, second = map(stamp_of, archives)
    assert first != second
    assert stamp_of(archives[0].rename(tmp_path / "c.tar")) == first


def replaced(path, content):
    """Replace a file by another of the same size."""
    path.write_bytes(content)
    os.utime(path, ns=(0, 7))


@pytest.mark.parametrize("which", ["clips", "rooms"])
def test_data_are_of_what_is_in_folders_of_ones_own_however_far_down(tmp_path, which):
    folder, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    for deep in (folder / "birds" / "far", elsewhere):
        deep.mkdir(parents=True)
        (deep / "a.wav").write_bytes(b"1")
    (folder / "linked").symlink_to(elsewhere)
    Identity("clips", {}).write(folder)  # as `apit fetch` made it, before somebody added to it
    settings = ["data.recipe.rooms={kind: recorded, gain_db: 0}"] if which == "rooms" else []

    def bank():
        scale = load_scale("smoke", settings)
        own = own_folders_settings(scale, **{"clips": None, "rooms": None, which: str(folder)})
        return Artefacts("smoke", [*settings, *own]).identities["data/smoke/bank"].id

    seen = [bank()]
    assert bank() == seen[0]
    for change in (
        lambda: replaced(folder / "birds/far/a.wav", b"2"),
        lambda: (folder / "birds/far/b.wav").write_bytes(b"3"),
        lambda: (folder / "birds/far/b.wav").rename(folder / "birds/b.wav"),
        lambda: replaced(elsewhere / "a.wav", b"4"),
        lambda: (elsewhere / "b.wav").write_bytes(b"5"),
        (elsewhere / "b.wav").unlink,
        (folder / "birds/b.wav").unlink,
        lambda: (folder / "gone.wav").symlink_to(tmp_path / "nothing"),
    ):
        change()
        seen.append(bank())
        assert seen[-1] != seen[-2]


def test_a_loss_of_ones_own_counts_as_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    ids = []
    for text in ("loss = 1\n", "loss = 2\n"):
        (tmp_path / "own_loss_module.py").write_text(text)
        ids.append(of("experiment.reconstruction=own_loss_module:loss").id)
    assert ids[0] != ids[1]


def test_folders_have_their_identity_and_only_those_that_have_one_are_replaced(tmp_path):
    folder = tmp_path / "made"
    with whole_folder(folder, of()) as part:
        (part / "a").touch()
    assert is_made(folder, of())
    with whole_folder(folder, of("training.steps=41")) as part:
        (part / "b").touch()
    assert [path.name for path in sorted(folder.iterdir())] == ["b", "identity.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "treasure").touch()
    with (
        pytest.raises(UserError, match="mine: exists and was not made by apit"),
        whole_folder(tmp_path / "mine", of()),
    ):
        pass
    assert (tmp_path / "mine" / "treasure").exists()


def test_scores_of_the_bootstrap_s_size_are_the_same_scores():
    ids = {
        Artefacts("smoke", s).identities["results/smoke/scores/mixture"].id
        for s in ((), ("evaluation.resamples=7",), ("training.steps=3",))
    }
    assert len(ids) == 1
    other = Artefacts("smoke", ["stft.hop=0.004"]).identities
    assert other["results/smoke/scores/mixture"].id not in ids
    assert load_scale("smoke").evaluation.resamples != 7

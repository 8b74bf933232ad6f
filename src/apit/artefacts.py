"""Artefacts: everything that takes time to make for a scale, by name, and where today's stands.

data/SCALE/{clips,bank,mixtures,packed}/ID
results/SCALE/{runs,trials,scores}/NAME/ID     small: git keeps it
results/SCALE/look/ID                          which claims three seeds do not decide
results/SCALE/weights/NAME/ID.safetensors      of a run; ID.end.pt, if another starts from its end
results/SCALE/estimates/NAME/ID                of scores: a few sounds
"""

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from apit.config import ORACLES, Recorded, Run
from apit.data.identities import data_settings, of_bank, of_clips, of_mixtures, of_packed
from apit.errors import UserError
from apit.identity import FILE, LENGTH, Identity, Stamp, beside, differences, end_of, stamp_of_files
from apit.layers import CONFIGS, configs_of, load_claims, load_run, load_scale, trial_settings
from apit.measure.identities import of_look, of_scores
from apit.training.identities import of_run

LOOK = "look.json"
ID = re.compile(f"[0-9a-f]{{{LENGTH}}}")


class Artefacts:
    """What a scale has: its configuration, its runs by name, and of each artefact the identity.

    `identities` are by the path of an artefact's name, in the order in which they are made;
    `trials` are of the grid of `tuning`. Raises UserError for whatever is wrong with the
    configuration.
    """

    def __init__(self, name: str, settings: Sequence[str] = (), configs: Path = CONFIGS):
        self.scale = scale = load_scale(name, settings, configs)
        self.data, self.results = f"data/{name}", f"results/{name}"

        def run(experiment: str, seed: int, own: Sequence[str] = ()) -> Run:
            return load_run(name, experiment, seed, [*settings, *own], configs)

        self.every_run = {f"{name}-s{seed}": run(name, seed) for name, seed in scale.runs}
        self._check_forks()
        self.trials: dict[str, tuple[str, list[str]]] = {}  # experiment, and `--set`s
        self.identities: dict[str, Identity] = {}
        data, bank = self._identify_data()
        remixed = bank if scale.training.remix == "clips" else None
        for label, one in sorted(self.every_run.items(), key=lambda item: bool(item[1].start_from)):
            identity = of_run(one, data, remixed, self._start_of(one))
            self.identities[f"{self.results}/runs/{label}"] = identity
        if (tuning := scale.tuning) is not None:
            for experiment in scale.names:
                one = run(experiment, tuning.seed)
                if one.start_from:  # of the trials' seed there is no run to start from
                    continue
                for point in tuning.points(bool(one.discriminators)):
                    label = "-".join([experiment, *(f"{value:g}" for value in point.values())])
                    own = trial_settings(one, tuning, point)
                    self.trials[label] = experiment, own
                    identity = of_run(run(experiment, tuning.seed, own), data, remixed)
                    self.identities[f"{self.results}/trials/{label}"] = identity
        for system in (*self.every_run, *ORACLES):
            trained = self.identities.get(f"{self.results}/runs/{system}")
            self.identities[f"{self.results}/scores/{system}"] = of_scores(
                scale, system, data, trained.stamp if trained else None
            )
        self.look = None  # at the claims, where more seeds depend on it
        if len(scale.looks) > 1:
            self.look = f"{self.results}/look"
            seen = {
                system: self.identities[f"{self.results}/scores/{system}"].stamp
                for system in (*self.at_first, *ORACLES)
            }
            self.identities[self.look] = of_look(scale, load_claims(configs), seen)

    def _identify_data(self) -> tuple[Stamp, Stamp | None]:
        """Stamps of the packed mixtures and of the bank."""
        audio, data, found = self.scale.audio, self.scale.data, self.identities
        sounds, recipe = data.sounds, data.recipe
        if recipe is None:
            found[f"{self.data}/packed"] = packed = of_packed(data_settings(audio, data))
            return packed.stamp, None
        clips = None
        if sounds.kind == "packages":
            found[f"{self.data}/clips"] = fetched = of_clips(sounds.packages)
            clips = fetched.stamp
        elif sounds.kind == "folder" and sounds.folder:
            clips = stamp_of_files(Path(sounds.folder))
        own = recipe.rooms.folder if isinstance(recipe.rooms, Recorded) else None
        rooms = stamp_of_files(Path(own)) if own else None
        found[f"{self.data}/bank"] = bank = of_bank(audio, data, clips, rooms)
        found[f"{self.data}/mixtures"] = mixtures = of_mixtures(audio, data, bank.stamp)
        found[f"{self.data}/packed"] = packed = of_packed(mixtures.configuration, mixtures.stamp)
        return packed.stamp, bank.stamp

    @property
    def at_first(self) -> dict[str, Run]:
        """Runs that are due whatever the claims come to."""
        looks, own = self.scale.looks, {r.name for r in self.scale.experiments if r.seeds}
        later = {*looks[-1]} - {*looks[0]}
        return {
            label: run
            for label, run in self.every_run.items()
            if run.experiment in own or run.seed not in later
        }

    @property
    def runs(self) -> dict[str, Run]:
        """Runs that are due, by label; of a second look once a first one has asked for them."""
        first = self.at_first
        if self.look is None or not (made := self.at(self.look) / LOOK).is_file():
            return first
        undecided = json.loads(made.read_text(encoding="utf-8"))["undecided"]
        return {
            label: run
            for label, run in self.every_run.items()
            if label in first or run.experiment in undecided
        }

    def _check_forks(self) -> None:
        """Raise UserError where forks of one run, which are compared, are not of one length."""
        first: dict[str, Run] = {}
        for fork in (run for run in self.every_run.values() if run.start_from):
            assert fork.start_from is not None
            other = first.setdefault(fork.start_from.experiment, fork)
            if fork.training.steps != other.training.steps:
                raise UserError(
                    f"experiments: {other.experiment} goes on from the end of "
                    f"{fork.start_from.experiment} for {other.training.steps} steps, and "
                    f"{fork.experiment} for {fork.training.steps}: forks of the same runs are "
                    "compared, so give them the same training.steps"
                )

    def _start_of(self, run: Run) -> Stamp | None:
        """Stamp of the run that a fork starts from."""
        if run.start_from is None:
            return None
        if run.start_from.name not in self.every_run:
            raise UserError(
                f"experiments: {run.name} starts from the end of {run.start_from.name}, which is "
                f"no run of {run.scale}: list {run.start_from.experiment}, with that seed"
            )
        return self.identities[f"{self.results}/runs/{run.start_from.name}"].stamp

    def at(self, path: str) -> Path:
        """Where today's artefact of a name stands, or will."""
        return Path(path, self.identities[path].id)

    @property
    def tried(self) -> list[Path]:
        """Today's trials that are here."""
        paths = (self.at(f"{self.results}/trials/{trial}") for trial in self.trials)
        return [path for path in paths if path.is_dir()]


def versions(path: Path) -> list[Path]:
    """Artefacts of a name that are here, the newest last."""
    if not path.is_dir():
        return []
    found = [one for one in path.iterdir() if ID.fullmatch(one.name) and (one / FILE).is_file()]
    return sorted(found, key=lambda one: (one / FILE).stat().st_mtime)


def today(path: Path) -> Path:
    """Today's artefact of a name such as `results/mini/runs/pit-s0`; any other path as it is.

    Where several are here, and none is of today's configuration and code, it is the newest, and a
    line says so.
    """
    here = versions(path)
    if len(here) > 1:
        full = path.absolute()  # …/results/SCALE/KIND/NAME, or …/data/SCALE/KIND
        root = full.parents[3 if full.parents[2].name == "results" else 2]
        name = full.relative_to(root)
        try:
            scale = Artefacts(name.parts[1], configs=configs_of(root))
            here = [one for one in here if one.name == scale.identities[name.as_posix()].id] or here
        except (UserError, KeyError):
            pass  # of sounds of one's own, or of a scale that is no more
        if len(here) > 1:
            print(f"{path}: none of {len(here)} is today's; taking the newest", file=sys.stderr)
    return here[-1] if here else path


def others(artefacts: Artefacts) -> Iterator[tuple[Path, str]]:
    """Artefacts that are here and not today's, and in what they differ from it."""
    roots = [
        Path(artefacts.data),
        *(Path(artefacts.results, k) for k in ("runs", "trials", "scores")),
    ]
    names = {p for root in roots if root.is_dir() for p in root.iterdir() if p.is_dir()}
    names.add(Path(artefacts.results, "look"))
    for name in sorted(names):
        identity = artefacts.identities.get(name.as_posix())
        for one in versions(name):
            if identity is None:
                yield one, "the scale has it no more"
            elif (other := Identity.read(one)) and other.id != one.name:
                yield one, f"its identity says {other.id}"
            elif other and other.id != identity.id:
                yield one, "; ".join(said for _, said in differences(other.parts, identity.parts))


def remove(folder: Path) -> None:
    """Remove an artefact, with what of it stands beside."""
    apart = beside(folder)
    shutil.rmtree(apart) if apart.is_dir() else apart.unlink(missing_ok=True)
    end_of(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def accept(artefacts: Artefacts, kinds: Collection[str], **note: str) -> list[Path]:
    """Take results of some kinds that differ from today's in nothing but code over as today's.

    They get today's names, and say in their identity what they are of, and `note`: who says since
    when, and why, that today's code gives the same. Interrupted, the same call goes on.
    """
    accepted = []
    for path, identity in artefacts.identities.items():
        target = artefacts.at(path)
        if target.exists() or identity.kind not in kinds:
            continue
        for one in reversed(versions(Path(path))):
            other = Identity.read(one)
            if other is None or other.stamp.without_code != identity.stamp.without_code:
                continue
            for where in (beside, end_of):
                if (large := where(one)) != one and large.exists():
                    large.rename(where(target))
            if other.id != identity.id:
                history = (*other.accepted, {"id": other.id, "code": other.code, **note})
                replace(identity, accepted=history).write(one)
            one.rename(target)  # last: until then it is none of today's
            accepted.append(target)
            break
    return accepted

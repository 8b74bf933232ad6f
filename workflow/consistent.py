"""Whether the results that git has are those of the code and configuration that it has.

    python workflow/consistent.py      (`make check` calls it)

What needs DVC's cache is not looked at: a clone has none.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from apit.layers import load_run, load_scale
from apit.lineage import versions_of

NEEDS_CACHE = ("deleted", "not in cache")


def faults_of(scale: str) -> list[str]:
    """What of a scale's committed results is of another code or configuration, or was edited."""
    committed = json.loads(Path("results", scale, "versions.json").read_text())
    experiments = load_scale(scale).experiments
    today = versions_of(load_run(scale, experiment, 0) for experiment in experiments)
    changed = [part for part in today if committed.get(part) != today[part]]
    faults = [f"{part} is of other code" for part in changed] + untuned(scale)
    found = dvc_status(scale)
    for stage, entries in found.items():
        for entry in entries:
            if isinstance(entry, str):  # always changed
                continue
            for kind, files in entry.items():
                for file, state in files.items():
                    if state not in NEEDS_CACHE:
                        faults.append(f"{stage}: {kind}: {file}: {state}")
    return faults


def untuned(scale: str) -> list[str]:
    """Experiments whose rate and batch are not those that were best in the committed trials."""
    trials: dict[str, dict[tuple[float, int], float]] = {}
    for path in Path("results", scale, "records", "trials").glob("*/record.json"):
        trial = json.loads(path.read_text())
        chosen = trial["run"]["training"]
        of = trials.setdefault(trial["run"]["experiment"], {})
        of[chosen["learning_rate"], chosen["batch_size"]] = trial["validation"]["si_snri_all"]
    return [
        f"configs/{scale}.yaml: tuned: {name} has rate and batch {used}, and {best} was best in its"
        " trials"
        for name, found in sorted(trials.items())
        for best in [max(found, key=found.__getitem__)]
        for training in [load_run(scale, name, 0).training]
        for used in [(training.learning_rate, training.batch_size)]
        if used != best
    ]


def dvc_status(scale: str) -> dict:
    """What DVC has to say of a scale's stages, whichever scale params.yaml names."""
    params = Path("params.yaml")
    kept = params.read_text()
    try:
        params.write_text(re.sub(r"(?m)^scale: .*$", f"scale: {scale}", kept))
        said = subprocess.run(
            ("dvc", "status", "--json"), check=True, capture_output=True, text=True
        ).stdout
    finally:
        params.write_text(kept)
    return json.loads(said)


if __name__ == "__main__":
    lock = YAML(typ="safe").load(Path("dvc.lock")) if Path("dvc.lock").exists() else {}
    scales = sorted({stage.partition("@")[2] for stage in lock.get("stages", {})})
    faults = {scale: faults_of(scale) for scale in scales}
    for scale, said in faults.items():
        for fault in said:
            print(f"results/{scale}: {fault}")
    if any(faults.values()):
        sys.exit(
            "make the results anew (snakemake, dvc commit --force), or, where they stay the same, "
            'say so: apit accept --scale SCALE --since COMMIT --why "…"'
        )

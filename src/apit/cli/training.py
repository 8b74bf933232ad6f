"""Commands that train: train, bench."""

from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from pandas import DataFrame

from apit.artefacts import today
from apit.cli.options import Bank, Data, Folder, Mixtures, ScaleOptions
from apit.errors import UserError
from apit.files import check_replaceable, whole_file
from apit.provenance import processor
from apit.training import CHECKPOINT_SECONDS
from apit.training.bench import by_size, costs, reckoned, timed
from apit.training.devices import leased, make_device
from apit.training.train import train as train_run


def train(
    *,
    experiment: str,
    data: Data,
    output: Folder,
    seed: int = 0,
    bank: Bank = None,
    start: Path | None = None,
    work: Path | None = None,
    weights: Path | None = None,
    restart: bool = False,
    any_threads: bool = False,
    checkpoint_every: Annotated[float, Parameter(metavar="SECONDS")] = CHECKPOINT_SECONDS,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Train one experiment with one seed.

    Example:

        apit train --scale smoke --experiment ctx-wave-i3-m --seed 0 \\
            --data data/smoke/mixtures --output /tmp/run --set training.steps=40

    Parameters
    ----------
    experiment
        An entry of CONFIGS/experiments.yaml.
    seed
        Seed of all generators.
    start
        Folder of the finished run that the experiment starts from (start_from).
    work
        Folder of checkpoints (OUTPUT.work); the same command goes on from the newest.
    weights
        File for the weights (OUTPUT/model.safetensors).
    restart
        Start over, whatever checkpoint there is.
    any_threads
        Go on from a checkpoint made with another training.threads, to other bits.
    checkpoint_every
        Time between checkpoints.
    """
    options.load()
    run = options.run(experiment, seed)
    data, bank, start = today(data), today(bank) if bank else None, today(start) if start else None
    if bank and run.training.remix != "clips":
        raise UserError("training.remix is not clips, so --bank has no meaning")
    check_replaceable(output)
    with leased():
        train_run(
            run, data, output, options.settings, bank=bank, start=start, work=work,
            weights=weights, restart=restart, any_threads=any_threads,
            checkpoint_seconds=checkpoint_every,
        )  # fmt: skip
    print(f"{output}: {run.name} of scale {run.scale}, trained")


def bench(
    *,
    experiments: Annotated[tuple[str, ...], Parameter(consume_multiple=1)] = (
        *("pit", "ctx-wave-i3-m", "ctx-stft-i3-m", "pit-six"),
    ),
    data: Mixtures = None,
    bank: Bank = None,
    rounds: int = 5,
    output: Path | None = None,
    at: Annotated[float | None, Parameter(metavar="TMACS")] = None,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Time steps of training here, reading --data, if given; and what a scale would take.

    Parameters
    ----------
    experiments
        What to time, first what the others are relative to.
    rounds
        Number of rounds, whose median counts.
    output
        File to write the table to, .csv.
    at
        Time nothing: hours on a device that sustains so many 10^12 multiply-accumulates a second,
        of all experiments of the scale, from their networks' sizes.
    """
    scale = options.load()
    data, bank = today(data) if data else None, today(bank) if bank else None
    runs = [options.run(name) for name in scale.names]
    if at:
        whole = by_size(runs, 1e12 * at)
        print(f"by multiply-accumulates alone, at {at:g} TMAC/s; nothing was timed\n")
    else:
        with leased():
            device = make_device(scale.training.threads)
            name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
            some = [options.run(one) for one in experiments]
            seconds = timed(some, data, rounds, device, bank)
        table = costs(some, list(seconds.values()))
        print(f"{_shown(table)}\n\nmedians of {rounds} rounds in turns on {name}, torch "
              f"{torch.__version__}; and so, for the whole scale:\n")  # fmt: skip
        whole = costs(runs, reckoned(runs, some, seconds))
        if output:
            table = table.assign(device=name, threads=torch.get_num_threads(), rounds=rounds)
            with whole_file(output) as partial:
                table.to_csv(partial, index=False, float_format="%.4g")
    print(_shown(whole))
    hours = whole.set_index("experiment")["hours"]
    missing = f", but for {n} that were not measured" if (n := hours.isna().sum()) else ""
    print(
        f"\n{hours.sum():.2f} h  all experiments, one seed{missing}; {len(scale.runs)} runs: "
        f"{sum(hours.fillna(0)[name] for name, _ in scale.runs):.1f} h of one device, without "
        "validation"
    )


def _shown(table: DataFrame) -> str:
    return table.to_string(index=False, float_format="{:.3g}".format, na_rep="–")

"""Commands that train: train, bench."""

import argparse
import resource
from collections.abc import Sequence
from math import isnan

from apit import layers
from apit.commands.scales import scale_of
from apit.config import Run, Scale
from apit.errors import UserError
from apit.provenance import processor


def train(parsed: argparse.Namespace) -> None:
    """`apit train`."""
    scale_of(parsed)
    run = layers.load_run(
        parsed.scale, parsed.experiment, parsed.seed, parsed.settings, parsed.configs
    )
    if parsed.bank and run.training.remix != "clips":
        raise UserError("training.remix is not clips, so --bank has no meaning")
    from apit.training.devices import leased

    with leased():
        from apit.training.train import train as train_run

        train_run(
            run,
            parsed.data,
            parsed.output,
            parsed.settings,
            bank=parsed.bank,
            work=parsed.work,
            restart=parsed.restart,
            any_threads=parsed.any_threads,
            checkpoint_seconds=parsed.checkpoint_every,
        )
    print(f"{parsed.output}: {run.name} of scale {run.scale}, trained")


def bench(parsed: argparse.Namespace) -> None:
    """`apit bench`."""
    scale = scale_of(parsed)

    def resolved(name: str) -> Run:
        return layers.load_run(parsed.scale, name, 0, parsed.settings, parsed.configs)

    runs = [resolved(experiment) for experiment in scale.experiments]
    if parsed.at:
        from apit.training.bench import by_size, parts_by_size

        sizes = by_size(runs, 1e12 * parsed.at)
        sizes["experiment"] = scale.experiments
        print(sizes.to_string(index=False, float_format="{:.3g}".format))
        parts = parts_by_size(runs)
        print(f"\nof a step:\n{parts.to_string(index=False, float_format='{:.3g}'.format)}\n")
        print(f"by multiply-accumulates alone, at {parsed.at:g} TMAC/s; nothing was timed")
        _print_sum(scale, sizes["hours"].to_list())
        return
    from apit.training.devices import leased, make_device

    with leased():
        import torch

        from apit.files import whole_file
        from apit.training.bench import Bench

        device = make_device(scale.training.threads)
        name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
        timed = [resolved(name) for name in parsed.experiments] if parsed.experiments else runs
        bench = Bench(timed, parsed.data, parsed.rounds, device, parsed.bank)
        table = bench.table()
        print(table.to_string(index=False, float_format="{:.3g}".format, na_rep="–"))
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"medians of {parsed.rounds} rounds in turns on {name}, torch {torch.__version__}; "
            f"this process, with all of them, used {used:.1f} GB at the most\n"
        )
        hours = [bench.hours(run) for run in runs]
        _print_sum(scale, hours)
        if parsed.output:
            where = {"device": name, "threads": torch.get_num_threads(), "rounds": parsed.rounds}
            with whole_file(parsed.output) as partial:
                table.assign(**where).to_csv(partial, index=False, float_format="%.4g")
            print(f"{parsed.output}: cost of {len(table)} experiments")


def _print_sum(scale: Scale, hours: Sequence[float]) -> None:
    """Hours of all experiments of a scale; NaN are those that are not known."""
    known = {
        name: needed
        for name, needed in zip(scale.experiments, hours, strict=True)
        if not isnan(needed)
    }
    missing = len(hours) - len(known)
    print(
        f"{sum(known.values()):10.2f} h  all experiments, one seed"
        f"{f', but for {missing} that were not measured' if missing else ''}; "
        f"{len(scale.runs)} runs: {sum(known.get(name, 0) for name, _ in scale.runs):.1f} h of one "
        "device, without validation"
    )

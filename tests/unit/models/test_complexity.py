import torch
from torch import nn

from apit.models.complexity import (
    activations,
    complexities,
    step_macs,
    step_memory,
    total_steps,
)


def test_counts_by_hand(tiny):
    run = tiny(
        "inst-wave",
        "separator.architecture=tdcnpp",
        "separator.tdcnpp={repeats: 1, blocks: 1, bottleneck: 6, channels: 5}",
        "adversary.wave={channels: [3], kernel: 15, stride: 4}",
    )
    found = complexities(run)
    bins, frames, sources, samples, seconds = 128, 32, 4, 4000, 0.5
    # entry, block (in, depthwise, out), masks: each per frame; consistency once
    per_frame = bins * 6 + 6 * 5 + 5 * 3 + 5 * 6 + 6 * sources * bins
    macs = (frames * per_frame + 6 * sources) / seconds
    assert found["separator"].multiply_accumulates == round(macs)
    weights = (bins * 6 + 6) + 2 + (6 * 5 + 5 * 3 + 5 + 5 * 6) + 2 + 4 + 1
    assert found["separator"].parameters == weights + 6 * sources * bins + 6 * sources
    positions = (samples - 15) // 4 + 1
    last = positions - 4 + 1
    per_source = positions * 15 * 3 + last * 3 * 4 + last
    assert found["inst-wave"].multiply_accumulates == round(sources * per_source / seconds)
    assert found["inst-wave"].parameters == (15 * 3 + 3) + (3 * 4 + 1) + (last + 1)


def test_pit_long_takes_as_many_steps_as_cost_what_six_discriminators_do(tiny):
    pit, six, long = (tiny(name) for name in ("pit", "pit-six", "pit-long"))
    share = step_macs(six) / step_macs(pit)
    assert share > 1.2
    assert total_steps(pit) == total_steps(six) == 4
    assert total_steps(long) == round(4 * share)
    fork = tiny("fork-pit", "experiment.as_costly_as=fork-pit-six")  # its warm-up does not count
    assert fork.as_costly_as.warm_up == 200
    assert total_steps(fork) == round(4 * share)
    counts = complexities(six)
    forward = 3 * counts["separator"].multiply_accumulates
    forward += 8 * sum(counts[d.name].multiply_accumulates for d in six.discriminators)
    assert step_macs(six) == round(forward * 0.5 * 2)
    frozen = tiny("pit-random")
    assert step_macs(frozen) < step_macs(six)


def test_counts_are_those_of_the_networks_that_are_trained(tiny):
    from apit.training.state import TrainState
    from apit.training.world import World

    run = tiny("six")
    state = TrainState(run, World(torch.device("cpu")))
    networks: dict[str, nn.Module] = {"separator": state.separator, **state.discriminators}
    found = complexities(run)
    assert found.keys() == networks.keys()
    for name, network in networks.items():
        assert found[name].parameters == sum(w.numel() for w in network.parameters())


def test_activations_are_what_the_backward_pass_keeps():
    layers = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5)).to("meta")
    # The first layer keeps its input, the second and the third what lies between: 10 + 20 floats.
    assert activations(layers, (torch.empty(1, 10, device="meta"),)) == 4 * (10 + 20)


def test_a_step_s_memory_grows_with_its_parts_and_its_discriminators(tiny):
    plain, whole = tiny("pit", "training.batch_size=8"), tiny("six", "training.batch_size=8")
    parts = tiny("six", "training.batch_size=8", "training.grad_accum_steps=4")
    assert step_memory(plain) < step_memory(parts) < step_memory(whole)
    assert step_memory(tiny("pit-long", "training.batch_size=8")) == step_memory(plain)

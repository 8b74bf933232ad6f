import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from apit.models.complexity import complexities


def test_counts_by_hand(tiny):
    run = tiny(
        "inst-wave",
        "separator.tdcnpp={repeats: 1, blocks: 1, bottleneck: 6, channels: 5}",
        "adversary.wave={channels: [3], kernel: 15, stride: 4}",
    )
    found = complexities(run)
    bins, frames, sources, samples, seconds = 129, 33, 4, 4000, 0.5
    # entry, block (in, depthwise, out), masks: each per frame; consistency once
    per_frame = bins * 6 + 6 * 5 + 5 * 3 + 5 * 6 + 6 * sources * bins
    macs = (frames * per_frame + 6 * sources) / seconds
    assert found["separator"].multiply_accumulates == round(macs)
    weights = (bins * 6 + 6) + 2 + (6 * 5 + 5 * 3 + 5 + 5 * 6) + 2 + 4 + 1
    assert found["separator"].parameters == weights + 6 * sources * bins + 6 * sources
    patches = (samples + 2 * 7 - 15) // 4 + 1
    per_source = patches * (15 * 3) + patches * 3 * 3
    assert found["inst-wave"].multiply_accumulates == round(sources * per_source / seconds)
    assert found["inst-wave"].parameters == (15 * 3 + 3) + (3 * 3 + 1)


def test_a_recurrent_network_counts_every_step():
    lstm = nn.LSTM(10, 7, batch_first=True, bidirectional=True, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        lstm(torch.empty(1, 40, 10, device="meta"))
    steps, directions, gates = 40, 2, 4
    assert counter.get_total_flops() / 2 == steps * directions * gates * 7 * (10 + 7)


def test_counts_are_those_of_the_networks_that_are_trained(tiny):
    from apit.training.step import Training
    from apit.training.team import Team

    run = tiny("multi-all-i1")
    training = Training(run, Team(torch.device("cpu")))
    networks: dict[str, nn.Module] = {"separator": training.separator, **training.discriminators}
    found = complexities(run)
    assert found.keys() == networks.keys()
    for name, network in networks.items():
        assert found[name].parameters == sum(w.numel() for w in network.parameters())

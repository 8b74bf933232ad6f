"""Adversarial permutation invariant training for universal sound separation.

The rooms, in the order in which data flows:

    data      clips → bank → mixtures → batches
    models    mixtures → masks → separated sources; sources → real or fake
    losses    separated sources → permutation → reconstruction and adversarial terms
    measure   separated sources → scores → means and intervals
    training  batches + models + losses → weights, history, record
    present   means, histories, signals → tables and figures

The axes, named the same everywhere and commented where a shape changes:

    batch     examples in a batch
    source    the K slots of a mixture; `estimate` and `reference` where the two meet in a matrix
    time      samples of a waveform
    bin       frequencies of a spectrogram, from 0 Hz up
    frame     columns of a spectrogram
    patch     places that a discriminator judges
"""

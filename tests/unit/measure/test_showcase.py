import torch

from apit.measure.showcase import Zoom, most_holes


def test_the_passage_with_most_holes_is_found_and_of_two_alike_the_first():
    holes = torch.zeros(2, 8, 12, dtype=torch.bool)
    holes[1, 4:6, 6:9] = True
    assert most_holes(holes, (4, 4)) == Zoom(1, slice(4, 6), slice(6, 9))
    holes[0, 5:7, 9:12] = True
    assert most_holes(holes, (4, 4)) == Zoom(0, slice(5, 7), slice(9, 12))
    assert most_holes(torch.zeros(1, 3, 3, dtype=torch.bool), (4, 4)) == Zoom(
        0, slice(0, 1), slice(0, 1)
    )

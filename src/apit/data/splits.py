"""Splits: every clip in one only."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from apit.config import Recipe, Split
from apit.data.clips import Clip
from apit.errors import UserError
from apit.provenance import array_generator


def split_clips(clips: Sequence[Clip], recipe: Recipe) -> dict[Split, list[Clip]]:
    """Deal out clips to the splits, so that none shares a clip, or a family, with another.

    The folders of `held_out` are out_of_domain. Raises UserError where a split would get no clip
    that is long enough for a background.
    """
    folders = sorted({clip.folder for clip in clips})
    if unknown := sorted(set(recipe.held_out) - set(folders)):
        named = [folder for folder in folders if folder]
        raise UserError(
            f"data.recipe.held_out: no clip is in a folder {unknown[0]} "
            f"({f'there are {_some(named)}' if named else 'none is in a folder of its own'}); "
            "--set data.recipe.held_out=[] holds nothing out"
        )
    outside = [clip for clip in clips if clip.folder in recipe.held_out]
    inside = [clip for clip in clips if clip.folder not in recipe.held_out]
    if recipe.split_by == "folder":
        wanted = [split for split in get_args(Split) if split in recipe.clip_shares]
        dealt = {split: [c for c in inside if c.folder == split] for split in wanted}
    else:
        dealt = _by_shares(inside, recipe)
    if recipe.held_out:
        dealt["out_of_domain"] = outside
    for split, hand in dealt.items():
        if not backgrounds(hand, recipe):
            raise UserError(
                f"split {split}: none of its {len(hand)} clips lasts "
                f"{recipe.background_min_seconds} s or more, as a background must; add longer "
                "ones, or lower data.recipe.background_min_seconds"
            )
        if recipe.foregrounds[1] and not foregrounds(hand, recipe):
            raise UserError(
                f"split {split}: all of its {len(hand)} clips last longer than a foreground may; "
                "raise data.recipe.foreground_max_seconds"
            )
        families, sources = len({clip.family for clip in hand}), 1 + recipe.foregrounds[1]
        if recipe.split_by == "family" and families < sources:
            print(
                f"split {split}: has {families} families for up to {sources} sources, so that some "
                "of its mixtures hold one twice; add others",
                file=sys.stderr,
            )
    return dealt


def backgrounds(clips: Sequence[Clip], recipe: Recipe) -> list[Clip]:
    """Clips that are long enough for a background."""
    return [clip for clip in clips if clip.seconds >= recipe.background_min_seconds]


def foregrounds(clips: Sequence[Clip], recipe: Recipe) -> list[Clip]:
    """Clips that may be foregrounds."""
    longest = recipe.foreground_max_seconds
    return [clip for clip in clips if longest is None or clip.seconds <= longest]


def _by_shares(clips: Sequence[Clip], recipe: Recipe) -> dict[Split, list[Clip]]:
    """Deal by `clip_shares`, each clip or whole family to one split only.

    Clips are dealt family by family, backgrounds and the rest apart, so that the shares hold for
    all of them. Whole families are dealt by size: first those with backgrounds, by how many they
    have, then the rest, as near to the shares as that goes.
    """
    generator = array_generator("split", recipe.seed)
    shuffled = [clips[position] for position in generator.permutation(len(clips))]
    families: dict[str, list[Clip]] = {}
    for clip in shuffled:
        families.setdefault(clip.family, []).append(clip)

    def count(hand: Sequence[Clip]) -> int:
        return len(backgrounds(hand, recipe))

    if recipe.split_by == "family":
        rounds = [list(families.values())]
    else:
        rounds = [[[clip] for clip in families[family]] for family in sorted(families)]
    long = [[hand for hand in hands if count(hand)] for hands in rounds]
    short = [[hand for hand in hands if not count(hand)] for hands in rounds]
    if sum(map(len, long)) < len(recipe.clip_shares):
        raise UserError(_too_few(clips, sorted(families), recipe))
    dealt: dict[Split, list[Clip]] = {split: [] for split in recipe.clip_shares}
    _deal(long, count, recipe.clip_shares, dealt)
    _deal(short, len, recipe.clip_shares, dealt)
    return dealt


def _deal(
    rounds: Sequence[Sequence[list[Clip]]],
    weight: Callable[[list[Clip]], int],
    shares: Mapping[Split, float],
    dealt: dict[Split, list[Clip]],
) -> None:
    """Deal hands, round by round, each to the split that is due most; none is left without."""
    due = dict.fromkeys(shares, 0.0)
    left = sum(map(len, rounds))
    for hands in rounds:
        for split, share in shares.items():
            due[split] += share / sum(shares.values()) * sum(map(weight, hands))
        for hand in sorted(hands, key=weight, reverse=True):
            empty = [split for split in shares if not dealt[split]]
            split = max(empty if len(empty) >= left else shares, key=due.__getitem__)
            dealt[split] += hand
            due[split] -= weight(hand)
            left -= 1


def _too_few(clips: Sequence[Clip], families: Sequence[str], recipe: Recipe) -> str:
    seconds, splits = recipe.background_min_seconds, len(recipe.clip_shares)
    long = backgrounds(clips, recipe)
    remedies = "add longer clips, or lower data.recipe.background_min_seconds"
    if recipe.split_by == "clip":
        names = sorted(clip.name for clip in long)
        there = f"{len(clips)} clips, of which {len(names)} last {seconds} s or more"
    else:
        names = sorted({clip.family for clip in long})
        there = (
            f"{len(clips)} clips of {len(families)} families ({_some(families)}; what stands "
            "before a file name's first _ or -), of which "
            f"{len(names)} have a clip of {seconds} s or more"
        )
        if len(long) >= splits:
            remedies += ", or set data.recipe.split_by: clip"
    return (
        f"{there} ({_some(names)}): every one of the {splits} splits needs one as a background; "
        f"{remedies}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "none"

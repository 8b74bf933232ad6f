"""Shared by all tests: a scale of seconds, its mixtures, and no silent skips in CI."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from apit.config import Run
from apit.data.bank import make_bank
from apit.data.mixtures import mix
from apit.data.packing import pack
from apit.layers import load_run, load_scale

REPOSITORY = Path(__file__).parent.parent

torch.set_num_threads(1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, which CI takes for a failure: {report.longrepr}"
        )


def pytest_collection_modifyitems(items):
    """What takes longest starts first, so that all processes end at about the same time."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


@pytest.fixture(scope="session")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configurations, and the scale `tiny`."""
    folder = tmp_path_factory.mktemp("tiny") / "configs"
    shutil.copytree(REPOSITORY / "configs", folder)
    shutil.copy(Path(__file__).parent / "tiny.yaml", folder)
    return folder


@pytest.fixture(scope="session")
def bank(configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bank of the scale `tiny`."""
    folder = tmp_path_factory.mktemp("data") / "bank"
    make_bank(load_scale("tiny", configs=configs), folder, jobs=1)
    return folder


@pytest.fixture(scope="session")
def mixtures(configs: Path, bank: Path) -> Path:
    """Mixtures of the scale `tiny`, as wavs."""
    folder = bank.with_name("mixtures")
    mix(load_scale("tiny", configs=configs), bank, folder, jobs=1)
    return folder


@pytest.fixture(scope="session")
def packed(mixtures: Path) -> Path:
    """The same mixtures, packed."""
    folder = mixtures.with_name("packed")
    pack(mixtures, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(configs: Path) -> Callable[..., Run]:
    """Resolve an experiment at the scale `tiny`: tiny("ctx-stft-i1", "training.steps=2")."""

    def resolve(experiment: str, *settings: str, seed: int = 0) -> Run:
        return load_run("tiny", experiment, seed, settings, configs)

    return resolve


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)

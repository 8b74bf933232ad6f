"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt

from apit.artefacts import Artefacts
from apit.config import Run, Scale
from apit.errors import UserError
from apit.layers import CONFIGS, load_run, load_scale, scale_names

Paths = Annotated[tuple[Path, ...], Parameter(consume_multiple=1)]
Runs = Annotated[Paths, Parameter(help="The runs behind it.")]
Scores = Annotated[Paths, Parameter(help="Folders of scores.")]
Data = Annotated[Path, Parameter(help="Folder of mixtures.")]
Mixtures = Annotated[Path | None, Parameter(help="Folder of mixtures.")]
Bank = Annotated[Path | None, Parameter(help="Bank to remix, for training.remix: clips.")]
Folder = Annotated[Path, Parameter(help="Folder to make.")]
Jobs = Annotated[
    NonNegativeInt, Parameter(help="Processes; 0: as many as there are cores.", metavar="N")
]


@Parameter(name="*")
@dataclass(frozen=True)
class ScaleOptions:
    """A scale, and how it differs from its file.

    Parameters
    ----------
    scale
        smoke, mini, paper, or any other CONFIGS/SCALE.yaml.
    settings
        Override a key of the configuration, such as training.steps=40; repeatable.
    configs
        Folder of configurations; by default ./configs, or those that apit comes with.
    """

    scale: str | None = None
    settings: Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")] = ()
    configs: Path = CONFIGS

    @property
    def name(self) -> str:
        """Name of the scale; UserError, naming those there are, for none."""
        if self.scale is None:
            known = ", ".join(scale_names(self.configs))
            raise UserError(f"--scale is missing; there are {known}")
        return self.scale

    def load(self) -> Scale:
        """The scale's configuration."""
        return load_scale(self.name, self.settings, self.configs)

    def artefacts(self) -> Artefacts:
        """What the scale has, and where today's stands."""
        return Artefacts(self.name, self.settings, self.configs)

    def run(self, experiment: str, seed: int = 0) -> Run:
        """One experiment at this scale."""
        return load_run(self.name, experiment, seed, self.settings, self.configs)

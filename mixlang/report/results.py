"""What the report is drawn from: the files of a study's build folder, read once. Sections take it and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from mixlang.documents import (
    AllocateSettings,
    Allocation,
    DomainFiles,
    DomainLook,
    Origin,
    PublishSettings,
    RunRow,
    Verification,
    read,
)
from mixlang.errors import InputError
from mixlang.files import read_json
from mixlang.laws import Fit, read_fit
from mixlang.report.svg import sample
from mixlang.verify import VERSION


@dataclass(frozen=True)
class Results:
    """The results of a study.

    Attributes:
        build: the study's build folder.
        label: `name@vK` when the page is part of a published version; published: the date of that version.
        provenance: of that version, as in its provenance.json.
    """

    build: Path
    label: str = ""
    published: str = ""
    provenance: Origin | None = None

    def read(self, name: str) -> Any:
        """A JSON file of the build folder."""
        return read(self.build, name)

    def has(self, name: str) -> bool:
        """Whether the build folder holds a file; stages that a spec leaves out write none."""
        return (self.build / name).is_file()

    @cached_property
    def data(self) -> dict[str, DomainFiles]:
        """The data manifest, by domain."""
        return self.read("data.json")["domains"]

    @cached_property
    def statistics(self) -> dict[str, DomainLook]:
        """What the prepared volumes look like, by domain."""
        return self.read("statistics.json")["domains"]

    @cached_property
    def problem(self) -> AllocateSettings:
        """The settings of the allocation: costs, available data, objective, constraints."""
        return self.read("settings/allocate.json")

    @cached_property
    def runs(self) -> list[RunRow]:
        """The probe runs."""
        return self.read("runs.json")["runs"]

    @cached_property
    def laws(self) -> Fit:
        """The fitted laws."""
        return read_fit(self.build / "fit.json")

    @cached_property
    def allocation(self) -> Allocation:
        """The mixture, its baselines, its certificate."""
        return self.read("allocation.json")

    @cached_property
    def verification(self) -> Verification:
        """The held-out runs and what they say.

        Raises:
            InputError: an older mixlang has written it, and nothing that DVC knows of has changed since.
        """
        if read_json(self.build / "verification.json").get("version") != VERSION:
            raise InputError(
                f"{self.build / 'verification.json'} was written by another version of mixlang",
                f"Work it out again, without training: dvc repro -f -s verify@{self.build.name}",
            )
        return self.read("verification.json")

    @cached_property
    def publish(self) -> PublishSettings:
        """Name and description."""
        return self.read("settings/publish.json")

    @property
    def domains(self) -> list[str]:
        """Names, in the order of all columns."""
        return self.allocation["domains"]

    @property
    def losses(self) -> list[str]:
        """Names of the losses: the domains, then the tasks of the objective."""
        return list(self.laws.names)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks of the objective."""
        return [name for name in self.losses if name not in self.domains]

    def single(self, source: str, name: str) -> list[tuple[float, float]]:
        """Budget and loss on `name` of every run on `source` alone."""
        return [
            (run["budget"], run["losses"][name])
            for run in self.runs
            if run["kind"] == "single" and run["amounts"][source] == run["budget"]
        ]

    def key(self, prefix: str = "") -> str:
        """The colours, markers and lines of the domains, as HTML."""
        items = "".join(
            f'<span class="key">{sample(index)} {prefix}{escape(name)}</span>'
            for index, name in enumerate(self.domains)
        )
        return f"<p>{items}</p>"

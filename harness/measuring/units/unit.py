"""A unit of a job: one adapter to train, or one evaluation of one subject, whole; what it needs and what comes of it.

Everything here is frozen, can be pickled, and says by names what there is to do: a process reads configuration, rows
and weights itself. A unit that is done twice gives the same twice, so it can be begun again where a process died.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from harness.measuring.lineup import Candidate
from harness.measuring.preparation import Options
from suites.engine.plan import ScoringPlan
from suites.inputs import Request, ResponseScore

Scores: TypeAlias = tuple[str, Mapping[Request, ResponseScore]]
"""Scores under their context, as `ScoreStore.store` takes them."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a unit needs of an earlier one. The same key is the same content, so that an engine sends it once a node."""

    key: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Name -> content of each file of an adapter's folder."""
    scores: Sequence[Scores] = field(default=(), repr=False)
    """Scores that count as found."""


@dataclass(frozen=True, slots=True)
class ReferenceUnit:
    """Score the rows of some variants under the reference that they share, in their order, before any is trained."""

    key: str
    """Names it to the user, such as "reference: baseline"; no two units of a job share one."""
    variants: tuple[str, ...]
    start: str | None = None
    """Key of the parcel of the adapter that they continue from."""


@dataclass(frozen=True, slots=True)
class TrainUnit:
    """Train one adapter."""

    key: str
    """Such as "train: adapter, seed 43"."""
    variant: str
    """Its name, by which a process finds it among those of the configuration."""
    start: str | None = None
    """Key of the parcel of the adapter that it continues from."""


@dataclass(frozen=True, slots=True)
class ScoreUnit:
    """Measure one subject by one evaluation, all of its rows: a part of the rows would give other numbers."""

    key: str
    """Such as "preferences: adapter, seed 43"."""
    evaluation: str | None
    """Its name in the suite; None is the whole suite, for a subject with weights of its own."""
    subject: Candidate | None
    """The candidate; None is the baseline."""
    plan: ScoringPlan
    """The plan to begin by. The same unit may be submitted again with a more careful one."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Subject -> key of the parcel of its adapter: its own, and where it is read with its reference, that one's."""

    @property
    def name(self) -> str:
        """The baseline or the name of the candidate."""
        from harness.models.base import BASELINE

        return BASELINE if self.subject is None else self.subject.name


Unit: TypeAlias = ReferenceUnit | TrainUnit | ScoreUnit


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all units; an engine sends it once."""

    options: Options
    """What the command line said."""
    n_threads: int
    """Threads of torch in every process."""
    inputs: Mapping[str, str]
    """What the driver read, part by part, as hashes; a process that read something else refuses."""
    mark: str = ""
    """Name of a file in the driver's workspace. A process that finds it there trains in that workspace, and goes on
    from the checkpoints of one that died; another one makes a folder of its own."""
    adapters: tuple[Parcel, ...] = ()
    """Adapters that exist already, in the order of `options.adapters`, whose folders may be on the driver alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a unit; the driver alone writes it into the stores."""

    inputs: Mapping[str, str]
    """What the process read, as in `Job.inputs`."""
    node: str
    """Name of the machine."""
    seconds: float
    adapter: Parcel | None = None
    """The adapter that was trained; its key is the fixture's fingerprint."""
    scores: Sequence[Scores] = field(default=(), repr=False)
    kept: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """Key -> answers, divergences and checks, as `ResultStore.store_result` takes them."""
    plan: ScoringPlan | None = None
    """The plan at the end of a score unit: more careful than the unit's where that did not hold."""
    is_exact: bool = False
    """Whether scores do not depend on the plan."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a process tells of a unit while it works on it, and waits for no answer."""

    unit: str
    """Key of the unit; empty where an engine tells of all that wait."""
    kind: Literal["begun", "step", "said", "ended", "waiting"]
    """A unit that begins a second time was begun again; the driver learns of it in no other way. "waiting" is told by
    engines themselves, every few seconds in which nothing came back."""
    node: str
    process: int
    """Process id."""
    step: int = 0
    """Optimiser steps done, of `n_steps`; for a score unit, requests."""
    n_steps: int = 0
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Such as the loss."""
    line: str = ""
    """What a training says to the user, such as that memory ran out and it goes on with less at a time."""
    lack: str = ""
    """What units that wait need and nobody has, as a clause; empty where they only wait for their turn."""


Tell: TypeAlias = Callable[[Event], object]

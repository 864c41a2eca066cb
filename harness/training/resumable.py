"""A trainer of TRL that writes checkpoints in the project's own form and continues from them, or says what is wrong."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.models.adapter_files.folder import CONFIG_FILE
from harness.processes import by_all, by_the_first, gathered, ranks
from harness.training.checkpoints import DamagedCheckpointError, step_of, write_checkpoint, writing
from harness.training.packed_step.budget import BudgetMixin
from harness.training.recipe import LogLine
from harness.training.recorder import Recorder
from reports.errors import first_line
from reports.json_text import parse_json

if TYPE_CHECKING:
    from peft import PeftModel

POLICY = "default"
"""PEFT's name of the trained adapter, as TRL expects it."""
RECORDER_FILE = "recorder.json"
_WEIGHTS_FILE, _STATE_FILE = "adapter_model.safetensors", "trainer_state.json"
_OPTIMIZER_FILE, _SCHEDULER_FILE = "optimizer.pt", "scheduler.pt"
_FILES = (_WEIGHTS_FILE, _STATE_FILE, _OPTIMIZER_FILE, _SCHEDULER_FILE, RECORDER_FILE)
"""What a training continues from, beside the random numbers of every process; transformers begins anew without a word
where it lacks some of them."""


class ResumableMixin(BudgetMixin):
    """Writes and reads the checkpoints of a trainer; stands before a class of TRL among the bases.

    What is read is compared with what the trainer itself holds before the first step: a right hash proves that a file
    is as it was written, not that a training wrote it.
    """

    recorder: Recorder
    checkpoints: Path

    def attach(self, recorder: Recorder, checkpoints: Path, say: Callable[[str], object]) -> None:
        """Report every step to the recorder, and write the state of both into checkpoints when it says so."""
        from transformers import TrainerCallback

        self.recorder, self.checkpoints, self.say = recorder, checkpoints, say
        self.add_callback(mixed_into(RecorderCallbackMixin, TrainerCallback)(recorder))

    def restore(self, checkpoint: Path) -> None:
        """Give the recorder, and what TRL does not restore itself, the state of a checkpoint.

        Raises:
            DamagedCheckpointError: it lacks a file, or one holds something else than this training writes.
        """
        import torch

        missing = [name for name in (*_FILES, *self._random_files) if not (checkpoint / name).is_file()]
        if missing:
            raise DamagedCheckpointError(f"it lacks {', '.join(missing)}")
        _check_state(checkpoint / _STATE_FILE, step_of(checkpoint))
        _check_weights(checkpoint / _WEIGHTS_FILE, self.model)
        rows, reference, n_threads, max_tokens = _recorded(checkpoint / RECORDER_FILE)
        self.recorder.restore(rows, reference)
        if self.budget is not None and max_tokens is not None:
            self.budget.max_tokens = max_tokens  # other packs round otherwise
        self._total_train_tokens = self.recorder.n_tokens  # TRL's count, which it starts at 0 again
        torch.set_num_threads(n_threads)  # sums over another number of threads differ in their last bits

    @property
    def _random_files(self) -> list[str]:
        """Names that transformers gives to the files of the random numbers of all processes, in order."""
        n_ranks: int = self.args.world_size
        return ["rng_state.pth"] if n_ranks == 1 else [f"rng_state_{index}.pth" for index in range(n_ranks)]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load both, where they have the form of this trainer's own."""
        if checkpoint is None:
            return
        with _damage_told():
            with _damage_named(_OPTIMIZER_FILE):
                _check_optimizer(Path(checkpoint) / _OPTIMIZER_FILE, self.optimizer)
            with _damage_named(_SCHEDULER_FILE):
                found, own = _loaded(Path(checkpoint) / _SCHEDULER_FILE), self.lr_scheduler.state_dict()
                if not _is_like(found, own) or found["last_epoch"] != step_of(Path(checkpoint)):
                    raise ValueError("not the state of this training's learning rate")
            with _damage_named(f"{_OPTIMIZER_FILE} or {_SCHEDULER_FILE}"):
                super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Load the states of all random numbers."""
        with _damage_told(), _damage_named(self._random_files[self.args.process_index]):
            super()._load_rng_state(checkpoint)

    def _save_checkpoint(self, *_: object) -> None:
        """Write a checkpoint in our form; TRL's becomes visible before it is complete, and pickles its settings.

        The first process writes for all, when it has the random numbers of all.
        """
        step = self.state.global_step
        self.recorder.check_weights(step)
        fill = partial(self._write_state, gathered(by_all(self._random_state))[1:])
        by_the_first(lambda: write_checkpoint(self.checkpoints, step, fill))

    def _random_state(self) -> bytes:
        """The states of this process's random numbers as transformers writes them; empty in the process that writes."""
        if ranks().is_first:
            return b""
        with TemporaryDirectory() as folder, writing(Path(folder), self.checkpoints):
            self._save_rng_state(folder)
            own: str = self._random_files[self.args.process_index]
            return (Path(folder) / own).read_bytes()

    def _write_state(self, others: Sequence[bytes], folder: Path) -> None:
        """Write the parts of transformers' own checkpoint, which have no public writers, and the recorder's state."""
        import torch

        save_adapter(self.model, folder)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        for name, content in zip(self._random_files[1:], others, strict=True):
            (folder / name).write_bytes(content)
        self.state.save_to_json(str(folder / _STATE_FILE))
        recorder = self.recorder
        state = {
            "n_threads": torch.get_num_threads(),
            "max_tokens_at_once": None if self.budget is None else self.budget.max_tokens,
            "reference": recorder.reference,
            "rows": recorder.log,
        }
        (folder / RECORDER_FILE).write_text(json.dumps(state), encoding="utf-8")


class RecorderCallbackMixin:
    """Passes the start, every step and the end of a training to a recorder; stands before `TrainerCallback`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
        """Start the recorder's clock."""
        self._recorder.begin(state.max_steps)

    def on_log(self, _args: Any, state: Any, control: Any, logs: LogLine, **_: object) -> None:
        """Record a step, and ask for a checkpoint where one is due."""
        if "loss" in logs:  # the closing log has none
            self._recorder.record_step(state.global_step, logs)
            control.should_save = self._recorder.is_due(state.global_step)

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
        """Record the end."""
        self._recorder.finish(state.global_step)


def mixed_into(mixin: type, base: type) -> Callable[..., Any]:
    """Return the class that has a mixin before a class of a library that is imported inside functions only."""
    return type(f"Harness{base.__name__}", (mixin, base), {})


def save_adapter(model: "PeftModel", folder: Path) -> None:
    """Write PEFT's files of the trained adapter, without those of its frozen copy, and without PEFT's model card.

    That card names the base by its folder on this machine, and would stand where `write_card` writes ours.
    """
    model.create_or_update_model_card = lambda _folder: None
    model.save_pretrained(str(folder), selected_adapters=[POLICY], save_embedding_layers=False)
    _write_sets_in_order(model.peft_config[POLICY], folder / CONFIG_FILE)


def _write_sets_in_order(config: Any, file: Path) -> None:
    """Write PEFT's configuration of an adapter again, with what it holds as a set (its modules) in order.

    PEFT lists a set by the hashes of its texts, which are others in every process. Scores are found by the hash of this
    file, so that those of an equal adapter would not be.
    """
    written = json.loads(file.read_text(encoding="utf-8"))
    written |= {name: sorted(value) for name, value in vars(config).items() if isinstance(value, set | frozenset)}
    file.write_text(json.dumps(written, indent=2, sort_keys=True), encoding="utf-8")


@contextmanager
def _damage_told() -> Iterator[None]:
    """Let every process know of damage that one of them finds within the block, so that all begin anew together.

    Raises:
        DamagedCheckpointError: one found some.
    """
    own = None
    try:
        yield
    except DamagedCheckpointError as damage:
        own = damage
    for found in gathered(own):
        if found is not None:
            raise found


@contextmanager
def _damage_named(file: str) -> Iterator[None]:
    """Turn whatever a loader raises within the block into damage of a file.

    Raises:
        DamagedCheckpointError: the block failed.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedCheckpointError(f"not what this training writes: {file} ({first_line(error)})") from error


def _recorded(file: Path) -> tuple[list[LogLine], list[float], int, int | None]:
    """Return the log, the reference's log-probabilities, and the numbers of threads and of tokens at once."""
    try:
        state = parse_json(file.read_bytes())
        rows, reference, n_threads = state["rows"], state["reference"], state["n_threads"]
        max_tokens = state["max_tokens_at_once"]
        is_right = all(_is_number(row["seconds"]) and isinstance(row.get("num_tokens", 0), int) for row in rows)
        is_right = is_right and all(map(_is_number, reference)) and type(n_threads) is int and n_threads > 0
        is_right = is_right and (max_tokens is None or (type(max_tokens) is int and max_tokens > 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise DamagedCheckpointError(f"not what a training writes: {file.name}")
    return rows, reference, n_threads, max_tokens


def _check_state(file: Path, step: int) -> None:
    """Check that transformers' record is of the checkpoint's own step, and has the types of one."""
    from transformers import TrainerState

    with _damage_named(file.name):
        found, own = parse_json(file.read_bytes()), vars(TrainerState())
        odd = [name for name, value in found.items() if name not in own or not _is_like(value, own[name])]
        if odd or found["global_step"] != step:
            raise ValueError(f"{', '.join(odd)} of another type" if odd else f"of another step than {step}")


def _check_weights(file: Path, model: "PeftModel") -> None:
    """Check that a file holds the trained weights of this model and no others, by names and shapes."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with _damage_named(file.name), safe_open(file, framework="numpy") as weights:
        found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        own = get_peft_model_state_dict(model, adapter_name=POLICY, save_embedding_layers=False)
        if found != {name: tuple(weight.shape) for name, weight in own.items()}:
            raise ValueError("other weights than this training's")


def _check_optimizer(file: Path, optimizer: Any) -> None:
    """Check that a file holds the state of this optimiser: its groups, and numbers of each weight's own shape."""
    import torch

    found, own = _loaded(file), optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    # An expert that no token was sent to has had no gradient yet, and so has no state.
    is_own = found["state"] and found["state"].keys() <= set(range(len(weights)))
    if not is_own or not _is_like(found["param_groups"], own["param_groups"]):
        raise ValueError("not the state of this training's optimiser")
    for weight, state in ((weights[number], state) for number, state in found["state"].items()):
        whole = [name for name, value in state.items() if torch.is_tensor(value) and value.shape == weight.shape]
        if not whole or not all(isinstance(name, str) for name in state):
            raise ValueError("numbers of another shape than the weights")


def _loaded(file: Path) -> Any:
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)


def _is_like(found: object, own: object) -> bool:
    """Whether a value has the types of another one: mappings of the same keys, lists as long, numbers for numbers.

    An empty list or mapping, and None, stand for any.
    """
    if own is None:
        return True
    if isinstance(own, Mapping):
        return isinstance(found, Mapping) and (
            not own or (found.keys() == own.keys() and all(_is_like(found[key], own[key]) for key in own))
        )
    if isinstance(own, list | tuple):
        return isinstance(found, list | tuple) and (
            not own or (len(found) == len(own) and all(map(_is_like, found, own)))
        )
    return _is_number(found) if _is_number(own) else isinstance(found, type(own))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

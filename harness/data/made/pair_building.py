"""Preference pairs out of a local model's own answers under two opposed instructions.

spec = load_pair_spec(Path("reviews.yaml"))
build_pairs(spec, loaded, Output(Path("reviews.jsonl")), decoding=Decoding(60, temperature=0.7), say=print)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config.wording import shown
from harness.data.made import resumable_file as checkpoint
from harness.data.made.pair_spec import PairSpec, SideName, kept_prompt, side_prompt
from harness.models.base import BASELINE, LoadedModel
from harness.models.provenance import package_versions
from reports.errors import UserError
from suites.engine.decoding import Decoding, generate, stop_token_ids
from suites.engine.encoding import Encoder
from suites.evaluations.generations import BATCH_SIZE, answer_text
from suites.inputs import Prompt, content_id

N_TRIES = 4
"""Seeds that are tried until both answers are there and differ."""

_PACKAGES = ("torch", "transformers", "tokenizers", "bitsandbytes")
_NO_LIMIT = 2**31


class PairBuildingError(UserError):
    """A model and options that no pairs come from."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where the rows go, and in which form."""

    path: Path
    unpaired: bool = False
    """Rows prompt, completion, label instead of prompt, chosen, rejected."""
    force: bool = False
    """Replaces what was built from something else."""


@dataclass(frozen=True, slots=True)
class BuiltPairs:
    """A finished file of rows."""

    path: Path
    n_rows: int
    left_out: int
    """Pairs whose answers stayed empty or equal."""
    reused: bool


@dataclass(frozen=True, slots=True)
class _Draft:
    """One of the pairs to be made of a subject."""

    subject: str
    repetition: int


@dataclass(frozen=True, slots=True)
class _Writer:
    """All that writes an answer."""

    model: Any
    encoder: Encoder
    decoding: Decoding
    prompt_ids: Mapping[tuple[SideName, str], tuple[int, ...]]
    """Side and subject -> what the model is asked."""

    def answers(self, side: SideName, drafts: Sequence[_Draft], seeds: Sequence[int]) -> list[str]:
        """One side's answers, one a draft."""
        tokenizer = self.encoder.tokenizer
        generated = generate(
            self.model,
            tokenizer,
            [self.prompt_ids[side, draft.subject] for draft in drafts],
            stops=stop_token_ids(self.model, self.encoder),
            decoding=self.decoding,
            keys=[content_id(side, draft.subject, seed) for draft, seed in zip(drafts, seeds, strict=True)],
        )
        return [answer_text(tokenizer, token_ids) for token_ids in generated]


def build_pairs(
    spec: PairSpec,
    loaded: LoadedModel,
    output: Output,
    *,
    decoding: Decoding,
    say: Callable[[str], object],
    progress: Callable[[int], object] | None = None,
) -> BuiltPairs:
    """Has the model answer about every subject from both sides, and writes the pairs as JSON Lines.

    The file is the same byte for byte however often its making was interrupted: batches are cut at fixed places, and
    what is drawn for an answer depends on its seed, subject and side alone. A finished file of the same specification,
    model, decoding and versions is reused.

    Args:
        spec: subjects, task and sides.
        loaded: the model that answers, its adapters off.
        output: the file, its form, and whether another one there is replaced.
        decoding: how answers are generated; its seed decides all that is drawn.
        say: told a line of what was there already or is left out.
        progress: told how many pairs are done, of `spec.n_pairs`.

    Raises:
        PairBuildingError: the prompts do not fit the model, or no pair came about.
        CheckpointError: the file was built from something else, or cannot be written.
    """
    encoder = Encoder(loaded.tokenizer, max_prompt_tokens=_NO_LIMIT, max_tokens=_NO_LIMIT + 1)
    prompt_ids = _encode_prompts(spec, encoder, decoding, loaded.max_positions)
    header = _header(spec, loaded, decoding, unpaired=output.unpaired)
    with checkpoint.held(output.path):
        if output.path.exists() and not output.force:
            finished = checkpoint.check_finished(output.path, header)
            say(f"{output.path} is reused: nothing that determines its rows has changed.")
            return BuiltPairs(output.path, finished.n_rows, finished.left_out, reused=True)
        drafts = [_Draft(subject, n) for subject in spec.subjects for n in range(spec.n_per_subject)]
        built = checkpoint.resume(output.path, header, n_items=len(drafts), batch_size=BATCH_SIZE, force=output.force)
        if built:
            say(f"{len(built)} of {len(drafts)} pairs are there already; going on from them.")
        with loaded.subject(BASELINE) as model:
            writer = _Writer(model, encoder, decoding, prompt_ids)
            for start in range(len(built), len(drafts), BATCH_SIZE):
                batch = _build_batch(spec, writer, drafts[start : start + BATCH_SIZE], unpaired=output.unpaired)
                checkpoint.append(output.path, batch)
                built += batch
                if progress is not None:
                    progress(len(built))
        if not any(built):
            raise PairBuildingError("no pair came about, all answers are empty or equal; change temperature or sides")
        finished = checkpoint.finish(output.path, header, built)
    if finished.left_out:
        say(f"{finished.left_out} of {len(drafts)} pairs are left out: their answers stayed empty or equal.")
    return BuiltPairs(output.path, finished.n_rows, finished.left_out, reused=False)


def _encode_prompts(
    spec: PairSpec, encoder: Encoder, decoding: Decoding, max_positions: int | None
) -> dict[tuple[SideName, str], tuple[int, ...]]:
    """What the model is asked, by side and subject; nothing of it is ever cut off.

    Raises:
        PairBuildingError: a prompt leaves no room for its answer, or the answers to a subject would all be equal.
    """
    if decoding.temperature == 0 and spec.n_per_subject > 1:
        raise PairBuildingError(
            f"n_per_subject must be 1 at temperature 0, where all answers to a subject are the same, got "
            f"{spec.n_per_subject}; set a temperature above 0"
        )
    sides: tuple[SideName, ...] = ("chosen", "rejected")
    prompt_ids = {
        (side, subject): encoder.prompt_ids(side_prompt(spec, side, subject))
        for subject in spec.subjects
        for side in sides
    }
    (side, subject), longest = max(prompt_ids.items(), key=lambda item: len(item[1]))
    if max_positions is not None and len(longest) + decoding.max_new_tokens > max_positions:
        raise PairBuildingError(
            f"the {side} side's prompt for {shown(subject)} has {len(longest)} tokens, which leaves no room for "
            f"{decoding.max_new_tokens} new ones in {max_positions} positions; give fewer examples or new tokens"
        )
    return prompt_ids


def _build_batch(spec: PairSpec, writer: _Writer, drafts: Sequence[_Draft], *, unpaired: bool) -> list[checkpoint.Item]:
    """The rows of each draft; none where its answers stay empty or equal."""
    rows: dict[_Draft, checkpoint.Item] = {}
    n_tries = N_TRIES if writer.decoding.temperature > 0 else 1  # greedy answers are the same every time
    for n_tried in range(n_tries):
        missing = [draft for draft in drafts if draft not in rows]
        if not missing:
            break
        first_seed = writer.decoding.seed + n_tried * spec.n_per_subject
        seeds = [first_seed + draft.repetition for draft in missing]
        answers = (writer.answers("chosen", missing, seeds), writer.answers("rejected", missing, seeds))
        for draft, seed, chosen, rejected in zip(missing, seeds, *answers, strict=True):
            if chosen and rejected and chosen != rejected:
                prompt = kept_prompt(spec, draft.subject, seed)
                origin = {"group": draft.subject, "subject": draft.subject, "seed": seed}
                rows[draft] = [row | origin for row in _rows(prompt, chosen, rejected, unpaired=unpaired)]
    return [rows.get(draft, []) for draft in drafts]


def _rows(prompt: Prompt, chosen: str, rejected: str, *, unpaired: bool) -> checkpoint.Item:
    """What two answers make, in TRL's conversational form: one row, or one each."""
    messages = [{"role": turn.speaker, "content": turn.text} for turn in prompt]
    good, bad = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
    if unpaired:
        return [{"prompt": messages, "completion": one, "label": label} for one, label in ((good, True), (bad, False))]
    return [{"prompt": messages, "chosen": good, "rejected": bad}]


def _header(spec: PairSpec, loaded: LoadedModel, decoding: Decoding, *, unpaired: bool) -> checkpoint.Header:
    """Everything that determines the rows, as JSON can hold it."""
    header = {
        "spec": asdict(spec),
        "model": {
            "fingerprint": loaded.fingerprint,
            "quantization": loaded.quantization,
            "dtype": loaded.dtype,
            "compute_dtype": loaded.compute_dtype,
            "device": loaded.device,
            "template": content_id(loaded.tokenizer.chat_template),
        },
        "decoding": asdict(decoding),
        "unpaired": unpaired,
        "batch_size": BATCH_SIZE,
        "versions": package_versions(_PACKAGES),
    }
    plain: checkpoint.Header = json.loads(json.dumps(header))
    return plain

"""Builds preference pairs from a local model's own answers under two opposed instructions.

spec = load_pair_spec(Path("reviews.yaml"))
build_pairs(spec, loaded, Output(Path("reviews.jsonl")), decoding=Decoding(60, temperature=0.7), say=print)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config.wording import shown
from harness.data.made import resumable_file
from harness.data.made.pair_spec import PairSpec, SideName, kept_prompt, side_prompt
from harness.models.base import BASELINE, LoadedModel
from harness.models.provenance import package_versions
from reports.errors import UserError
from suites.engine.decoding import BATCH_SIZE, Decoding, generate, stop_token_ids
from suites.engine.encoding import Encoder
from suites.evaluations.generations import answer_text
from suites.inputs import Prompt, content_id

N_TRIES = 4
"""Seeds to try until both answers are not empty and differ."""

_PACKAGES = ("torch", "transformers", "tokenizers", "bitsandbytes")
_NO_LIMIT = 2**31


class PairBuildingError(UserError):
    """Pairs cannot be built with this model and these options."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where the rows are written, and in which form."""

    path: Path
    """The JSON Lines file."""
    unpaired: bool = False
    """Whether rows are prompt, completion, label instead of prompt, chosen, rejected."""
    force: bool = False
    """Whether a file that was built from something else is replaced."""


@dataclass(frozen=True, slots=True)
class PairFile:
    """A finished file of rows."""

    path: Path
    n_rows: int
    left_out: int
    """Pairs that have no row, because their answers stayed empty or equal."""
    reused: bool
    """Whether the file was there already."""


@dataclass(frozen=True, slots=True)
class _PlannedPair:
    """One of the pairs to build for a subject."""

    subject: str
    repetition: int
    """Number of the pair among those of its subject, from 0."""


@dataclass(frozen=True, slots=True)
class _Generator:
    """Model, encoder and decoding that answers are generated with."""

    model: Any
    encoder: Encoder
    decoding: Decoding
    prompt_ids: Mapping[tuple[SideName, str], tuple[int, ...]]
    """Side and subject -> token ids of the prompt."""

    def answers(self, side: SideName, pairs: Sequence[_PlannedPair], seeds: Sequence[int]) -> list[str]:
        """Generates one side's answers, one for each planned pair.

        Raises:
            PairBuildingError: The model's logits are NaN or infinite.
        """
        tokenizer = self.encoder.tokenizer
        generated = generate(
            self.model,
            tokenizer,
            [self.prompt_ids[side, pair.subject] for pair in pairs],
            stops=stop_token_ids(self.model, self.encoder),
            decoding=self.decoding,
            keys=[content_id(side, pair.subject, seed) for pair, seed in zip(pairs, seeds, strict=True)],
        )
        answers = [answer_text(tokenizer, token_ids) for token_ids in generated if token_ids is not None]
        if len(answers) < len(pairs):
            raise PairBuildingError(
                f"the model's logits are not finite in {len(pairs) - len(answers)} of {len(pairs)} answers, so it "
                "cannot answer; check its weights, or set model.dtype=float32"
            )
        return answers


def build_pairs(
    spec: PairSpec,
    loaded: LoadedModel,
    output: Output,
    *,
    decoding: Decoding,
    say: Callable[[str], object],
    progress: Callable[[int], object] | None = None,
) -> PairFile:
    """Lets the model answer every subject from both sides, and writes the pairs as JSON Lines.

    The file is the same byte for byte however often building it was interrupted: batches have fixed bounds, and what is
    sampled for an answer depends on its seed, subject and side alone. A finished file of the same specification, model,
    decoding and package versions is reused.

    Args:
        spec: Subjects, task and sides.
        loaded: The model that answers, with its adapters off.
        output: The file, its form, and whether another file there is replaced.
        decoding: How answers are generated; its seed determines all sampling.
        say: Called with a line for the user about pairs that exist already or are left out.
        progress: Called with the number of pairs done, of `spec.n_pairs`.

    Raises:
        PairBuildingError: The prompts do not fit the model, or no pair could be built.
        ResumableFileError: The file was built from something else, or cannot be written.
    """
    encoder = Encoder(loaded.tokenizer, max_prompt_tokens=_NO_LIMIT, max_tokens=_NO_LIMIT + 1)
    prompt_ids = _encode_prompts(spec, encoder, decoding, loaded.max_positions)
    header = _header(spec, loaded, decoding, unpaired=output.unpaired)
    with resumable_file.build_lock(output.path):
        if output.path.exists() and not output.force:
            finished = resumable_file.check_finished(output.path, header)
            say(f"{output.path} is reused, because nothing that determines its rows has changed.")
            return PairFile(output.path, finished.n_rows, finished.left_out, reused=True)
        pairs = [_PlannedPair(subject, n) for subject in spec.subjects for n in range(spec.n_per_subject)]
        built = resumable_file.resume(
            output.path, header, n_items=len(pairs), batch_size=BATCH_SIZE, force=output.force
        )
        if built:
            say(f"{len(built)} of {len(pairs)} pairs exist already; building continues after them.")
        with loaded.subject(BASELINE) as model:
            generator = _Generator(model, encoder, decoding, prompt_ids)
            for start in range(len(built), len(pairs), BATCH_SIZE):
                batch = _build_batch(spec, generator, pairs[start : start + BATCH_SIZE], unpaired=output.unpaired)
                resumable_file.append(output.path, batch)
                built += batch
                if progress is not None:
                    progress(len(built))
        if not any(built):
            raise PairBuildingError(
                "no pair could be built, because all answers are empty or equal; change the temperature or the sides"
            )
        finished = resumable_file.finish(output.path, header, built)
    if finished.left_out:
        say(f"{finished.left_out} of {len(pairs)} pairs are left out, because their answers stayed empty or equal.")
    return PairFile(output.path, finished.n_rows, finished.left_out, reused=False)


def _encode_prompts(
    spec: PairSpec, encoder: Encoder, decoding: Decoding, max_positions: int | None
) -> dict[tuple[SideName, str], tuple[int, ...]]:
    """Encodes the prompt of each side and subject, never truncated.

    Raises:
        PairBuildingError: A prompt leaves no room for its answer, or all answers to a subject would be equal.
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


def _build_batch(
    spec: PairSpec, generator: _Generator, pairs: Sequence[_PlannedPair], *, unpaired: bool
) -> list[resumable_file.Item]:
    """The rows of each planned pair; empty where its answers stay empty or equal."""
    rows: dict[_PlannedPair, resumable_file.Item] = {}
    n_tries = N_TRIES if generator.decoding.temperature > 0 else 1  # greedy answers are the same every time
    for n_tried in range(n_tries):
        missing = [pair for pair in pairs if pair not in rows]
        if not missing:
            break
        first_seed = generator.decoding.seed + n_tried * spec.n_per_subject
        seeds = [first_seed + pair.repetition for pair in missing]
        answers = (generator.answers("chosen", missing, seeds), generator.answers("rejected", missing, seeds))
        for pair, seed, chosen, rejected in zip(missing, seeds, *answers, strict=True):
            if chosen and rejected and chosen != rejected:
                prompt = kept_prompt(spec, pair.subject, seed)
                origin = {"group": pair.subject, "subject": pair.subject, "seed": seed}
                rows[pair] = [row | origin for row in _rows(prompt, chosen, rejected, unpaired=unpaired)]
    return [rows.get(pair, []) for pair in pairs]


def _rows(prompt: Prompt, chosen: str, rejected: str, *, unpaired: bool) -> resumable_file.Item:
    """The rows of two answers in TRL's conversational form: one row of both, or one row each."""
    messages = [{"role": turn.speaker, "content": turn.text} for turn in prompt]
    good, bad = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
    if unpaired:
        return [{"prompt": messages, "completion": one, "label": label} for one, label in ((good, True), (bad, False))]
    return [{"prompt": messages, "chosen": good, "rejected": bad}]


def _header(spec: PairSpec, loaded: LoadedModel, decoding: Decoding, *, unpaired: bool) -> resumable_file.Header:
    """All that determines the rows, as JSON can hold it."""
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
    plain: resumable_file.Header = json.loads(json.dumps(header))
    return plain

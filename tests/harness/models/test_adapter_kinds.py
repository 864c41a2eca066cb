"""Each kind of LoRA is measured and merged as plain PEFT does it, in packs too; docs/adapters.md has the table."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.models.adapter_files.folder import CONFIG_FILE, WEIGHTS_FILE, AdapterError
from harness.models.adapters import attach_adapter, detach_adapters, probe_logits
from harness.models.base import LoadedModel
from harness.models.merge import MergeError, merge_adapter
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.inputs import Request

Load = Callable[..., LoadedModel]
MakeAdapter = Callable[..., Path]
KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "rank_pattern, alpha_pattern": {"rank_pattern": {"layers.1.mlp.up_proj": 8}, "alpha_pattern": {"q_proj": 3}},
    "layers_to_transform": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    "target_modules as a pattern": {"target_modules": r".*\.1\..*(q|v)_proj"},
    "exclude_modules": {"exclude_modules": ["q_proj"]},
    "lora_bias": {"lora_bias": True},
    "modules_to_save: head": {"modules_to_save": ["lm_head"]},
    "modules_to_save: embeddings and head": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "modules_to_save: norm": {"modules_to_save": ["norm"]},
    "trainable_token_indices": {"trainable_token_indices": [5, 9, 33]},
    "LoRA on embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "LoRA on the head": {"target_modules": ["q_proj", "lm_head"]},
    "DoRA on embeddings": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
}
CASES = [(kind, "llama_folder") for kind in KINDS]
CASES += [(kind, "tied_folder") for kind in KINDS if any(word in kind for word in ("head", "embeddings", "token"))]
TOKEN_IDS = torch.tensor([[1, 5, 9, 33, 70, 12]])


@pytest.fixture(scope="session")
def tied_folder(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Llama with one matrix for embeddings and output head."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("tied")
    config = AutoConfig.from_pretrained(llama_folder, tie_word_embeddings=True)
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(llama_folder).save_pretrained(folder)
    return folder


@pytest.fixture
def make_adapter(tmp_path: Path) -> MakeAdapter:
    """Writes an adapter below the test's folder."""

    def make(base_folder: Path, folder: str = "adapter", **settings: Any) -> Path:
        return write_adapter(base_folder, tmp_path / folder, **settings)

    return make


@pytest.fixture(scope="module")
def adapter_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Path]:
    """The adapter of a kind on a base, written once for those tests that only read it."""
    return cache(lambda kind, base: write_adapter(base, tmp_path_factory.mktemp("kind") / "adapter", **KINDS[kind]))


def write_adapter(base_folder: Path, folder: Path, **settings: Any) -> Path:
    """Writes an adapter by PEFT alone, with all that it trains away from where it began."""
    import peft

    torch.manual_seed(5)
    options = {"r": 4, "lora_alpha": 10, "target_modules": "all-linear", "init_lora_weights": False} | settings
    with quiet():
        model = peft.get_peft_model(plain(base_folder), peft.LoraConfig(**options, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name or "tokens_delta" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    with quiet():
        model.save_pretrained(folder)
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what plain PEFT says of embeddings and of merging."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def plain(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def with_peft(base_folder: Path, adapter: Path) -> Any:
    """Plain transformers with plain PEFT."""
    import peft

    with quiet():
        return peft.PeftModel.from_pretrained(plain(base_folder), adapter).eval()


def requests() -> list[Request]:
    """Branches, prefixes and several lengths, with the tokens that are trained on their own among them."""
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(3, 300, size).tolist()) for size in (3, 12, 30)]
    answers = [(5,), (9, 33, 70), tuple(rng.integers(3, 300, 7).tolist())]
    return [Request(prompt, answer) for prompt in prompts for answer in answers]


def of_peft(model: Any, scored: list[Request]) -> list[float]:
    """Log-probabilities in nats, one forward a request."""
    sums = []
    for request in scored:
        token_ids = torch.tensor([request.prompt_ids + request.response_ids])
        with torch.no_grad():
            logits = model(input_ids=token_ids).logits[0, len(request.prompt_ids) - 1 : -1].double().log_softmax(-1)
        sums.append(float(logits[torch.arange(len(request.response_ids)), torch.tensor(request.response_ids)].sum()))
    return sums


@cache
def of_plain(folder: Path) -> list[float]:
    """Log-probabilities of all requests without an adapter."""
    return of_peft(plain(folder), requests())


@pytest.mark.parametrize(("kind", "base"), CASES)
def test_a_kind_is_measured_as_peft_has_it(
    kind: str, base: str, adapter_of: Callable[[str, Path], Path], load: Load, request: pytest.FixtureRequest
) -> None:
    """Log-probabilities in packs are those of PeftModel, and nothing is left of it when it is off or taken off."""
    base_folder = Path(request.getfixturevalue(base))
    adapter = adapter_of(kind, base_folder)
    loaded, scored = load(base_folder), requests()
    before = probe_logits(loaded)

    assert attach_adapter(loaded, "tuned", str(adapter)) == []

    with loaded.subject("tuned") as model:
        state = ScoringState(plan_for(model), pytest.fail)  # a path that is left says so
        scorer = ModelScorer(model, pad_token_id=loaded.pad_token_id, state=state)
        ours = [each.log_probability for each in scorer.score(scored)]
    np.testing.assert_allclose(ours, of_peft(with_peft(base_folder, adapter), scored), atol=1e-4, rtol=1e-6)
    assert not np.allclose(ours, of_plain(base_folder), atol=0.01)
    assert torch.equal(probe_logits(loaded), before)
    detach_adapters(loaded)
    assert torch.equal(probe_logits(loaded), before)
    assert not [module for module in loaded.base.modules() if type(module).__module__.startswith("peft")]


@pytest.mark.parametrize(("kind", "base"), CASES)
def test_a_kind_is_merged_as_peft_merges_it(
    kind: str, base: str, adapter_of: Callable[[str, Path], Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What is written is PEFT's merged model rounded once, two matrices where it makes them of a tied one."""
    base_folder = Path(request.getfixturevalue(base))
    adapter = adapter_of(kind, base_folder)
    if kind == "lora_bias":
        with pytest.raises(MergeError, match=r"PEFT cannot merge .* base layer has no bias\. Use the adapter without"):
            merge_adapter(str(adapter), tmp_path / "out", dtype="float16", base=str(base_folder))
        return
    if base == "tied_folder" and kind in ("LoRA on embeddings", "LoRA on the head", "DoRA on embeddings"):
        with pytest.raises(MergeError, match="tied"):
            merge_adapter(str(adapter), tmp_path / "out", dtype="float16", base=str(base_folder))
        return
    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="float16", base=str(base_folder))

    with quiet():
        theirs = with_peft(base_folder, adapter).merge_and_unload().state_dict()
    ours = plain(merged.folder).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight.half().float(), ours[name]) for name, weight in theirs.items())


def test_kinds_stand_side_by_side(llama_folder: Path, make_adapter: MakeAdapter, load: Load) -> None:
    """Each is itself on one base, except where two change one module in two ways, which is said."""
    loaded = load(llama_folder)
    before = probe_logits(loaded)
    names = ["LoRA", "DoRA", "rsLoRA", "modules_to_save: head", "modules_to_save: embeddings and head"]
    folders = {name: make_adapter(llama_folder, str(index), **KINDS[name]) for index, name in enumerate(names)}
    for name, folder in folders.items():
        attach_adapter(loaded, name, str(folder))

    with pytest.raises(AdapterError, match=r"changes model\.embed_tokens in another way than an adapter of this run"):
        attach_adapter(loaded, "rows", str(make_adapter(llama_folder, "rows", **KINDS["trainable_token_indices"])))
    with pytest.raises(AdapterError, match=r"changes lm_head in another way"):
        attach_adapter(loaded, "head", str(make_adapter(llama_folder, "head", **KINDS["LoRA on the head"])))

    for name, folder in folders.items():
        with torch.no_grad(), loaded.subject(name) as model:
            assert torch.equal(model(TOKEN_IDS).logits, with_peft(llama_folder, folder)(TOKEN_IDS).logits), name
    assert torch.equal(probe_logits(loaded), before)


@pytest.mark.parametrize("kind", ["LoRA", "rsLoRA", "DoRA", "modules_to_save: head", "trainable_token_indices"])
def test_kinds_lie_on_4_bit_weights(kind: str, wide_llama_folder: Path, make_adapter: MakeAdapter, load: Load) -> None:
    """As PEFT has them on the very same quantised base."""
    import peft

    adapter = make_adapter(wide_llama_folder, **KINDS[kind])
    loaded = load(wide_llama_folder, quantization="nf4", compute_dtype="float32")
    attach_adapter(loaded, "tuned", str(adapter))
    theirs = peft.PeftModel.from_pretrained(
        load(wide_llama_folder, quantization="nf4", compute_dtype="float32").base, adapter
    )
    with torch.no_grad(), loaded.subject("tuned") as model:
        assert torch.allclose(model(TOKEN_IDS).logits, theirs(TOKEN_IDS).logits, atol=1e-5)


@pytest.mark.parametrize("base", ["llama_folder", "tied_folder"])
def test_embeddings_saved_beside_an_adapter(
    base: str, make_adapter: MakeAdapter, load: Load, request: pytest.FixtureRequest
) -> None:
    """A copy of the base's own changes nothing; other ones are the adapter's, never the baseline's, and are said."""
    base_folder = Path(request.getfixturevalue(base))
    adapter = make_adapter(base_folder)
    with quiet():
        with_peft(base_folder, adapter).save_pretrained(adapter, save_embedding_layers=True)
    loaded = load(base_folder)
    before = probe_logits(loaded)
    assert attach_adapter(loaded, "copy", str(adapter)) == []

    other = Path(shutil.copytree(adapter, adapter.with_name("other")))
    tensors = load_file(other / WEIGHTS_FILE)
    key = "base_model.model.model.embed_tokens.weight"
    save_file(tensors | {key: tensors[key] * 1.5}, other / WEIGHTS_FILE)
    if base == "tied_folder":
        save_file(
            {k: v for k, v in load_file(other / WEIGHTS_FILE).items() if "lm_head" not in k}, other / WEIGHTS_FILE
        )
    (note,) = attach_adapter(loaded, "other", str(other))

    assert "brings a whole model.embed_tokens" in note
    assert torch.equal(probe_logits(loaded), before)
    with torch.no_grad(), loaded.subject("other") as ours:
        assert torch.equal(ours(TOKEN_IDS).logits, with_peft(base_folder, other)(TOKEN_IDS).logits)


@pytest.mark.parametrize(
    "settings", [{"modules_to_save": ["embed_tokens", "lm_head"]}, {"target_modules": ["q_proj", "embed_tokens"]}, {}]
)
def test_resized_embeddings_are_refused_as_that(
    settings: dict[str, Any], llama_folder: Path, tmp_path: Path, load: Load
) -> None:
    """With the way out: a base of that size. There the adapter is measured as PEFT does."""
    import peft
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    resized, tokenizer = plain(llama_folder), AutoTokenizer.from_pretrained(llama_folder)
    tokenizer.add_tokens(["<a>", "<b>", "<c>", "<d>"])
    n_tokens = len(tokenizer)
    resized.resize_token_embeddings(n_tokens)
    resized.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    options = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | settings
    with quiet():
        model = peft.get_peft_model(resized, peft.LoraConfig(**options, task_type="CAUSAL_LM"))
        model.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)

    with pytest.raises(AdapterError, match=rf"trained with {n_tokens} tokens, and the base model has {n_tokens - 4} "):
        attach_adapter(load(llama_folder), "tuned", str(tmp_path / "adapter"))

    loaded = load(tmp_path / "base")
    (note,) = attach_adapter(loaded, "tuned", str(tmp_path / "adapter"))
    assert "as was asked for" in note
    with torch.no_grad(), loaded.subject("tuned") as ours:
        theirs = with_peft(tmp_path / "base", tmp_path / "adapter")
        assert torch.equal(ours(TOKEN_IDS).logits, theirs(TOKEN_IDS).logits)


@pytest.mark.parametrize(
    ("kind", "part", "key", "module"),
    [
        ("modules_to_save: head", "lm_head", "modules_to_save", "lm_head"),
        ("modules_to_save: norm", "model.norm", "modules_to_save", "model.norm"),
        ("trainable_token_indices", "embed_tokens", "trainable_token_indices", "model.embed_tokens"),
        ("DoRA", "layers.0.self_attn.q_proj.lora_magnitude", "use_dora", "model.layers.0.self_attn.q_proj"),
    ],
)
def test_weights_that_the_configuration_asks_for_and_the_file_lacks(
    kind: str, part: str, key: str, module: str, llama_folder: Path, make_adapter: MakeAdapter, load: Load
) -> None:
    """The adapter is not whole, which is said with its key and the module, and never that it is of another base."""
    adapter = make_adapter(llama_folder, **KINDS[kind])
    weights = load_file(adapter / WEIGHTS_FILE)
    kept = {name: weight for name, weight in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, adapter / WEIGHTS_FILE)
    loaded = load(llama_folder)
    with pytest.raises(AdapterError, match=f"{key} in its .* asks for weights of {module}, and") as caught:
        attach_adapter(loaded, "tuned", str(adapter))
    assert "another base" not in str(caught.value)
    assert loaded.adapters is None


@pytest.mark.parametrize(("layers", "shown"), [([9], "layer 9"), ([8, 9], "layer 8 or 9"), (9, "layer 9")])
def test_layers_that_the_base_lacks_are_named(
    layers: Any, shown: str, llama_folder: Path, make_adapter: MakeAdapter, load: Load
) -> None:
    """In words, without PEFT's own set of names."""
    adapter = make_adapter(llama_folder, target_modules=["q_proj", "v_proj"])
    content = json.loads((adapter / CONFIG_FILE).read_text())
    (adapter / CONFIG_FILE).write_text(json.dumps(content | {"layers_to_transform": layers}))
    with pytest.raises(AdapterError, match=rf"which has no module q_proj or v_proj in {shown}\)") as caught:
        attach_adapter(load(llama_folder), "tuned", str(adapter))
    assert "{" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainable_token_indices": {"nope": [1]}}, "which has no module nope, whose tokens trainable_token_indices"),
        ({"trainable_token_indices": {"embed_tokens": [1], "gone": [2]}}, "no module gone, whose tokens trainable_tok"),
        ({"target_modules": ["nope"]}, r"which has no module nope\)"),
        ({"target_modules": ["nope"], "trainable_token_indices": {"nope": [1]}}, "which has no module nope"),
        ({"layers_to_transform": [0], "layers_pattern": "nope"}, r"no module q_proj or v_proj in layer 0 of nope\)"),
        ({"target_modules": [], "target_parameters": ["nope"]}, r"which has no parameter nope\)"),
        ({"exclude_modules": ["q_proj", "v_proj"]}, "exclude_modules in its .* leaves none of its target_modules"),
        (
            {"exclude_modules": ["q_proj"], "target_modules": ["q_proj", "nope"]},
            "exclude_modules in its .* leaves none",
        ),
    ],
    ids=str,
)
def test_what_a_base_lacks_is_named_and_nothing_else(
    changes: dict[str, Any], said: str, llama_folder: Path, make_adapter: MakeAdapter, load: Load
) -> None:
    """By the key that asks for it, where PEFT speaks of target modules."""
    adapter = make_adapter(llama_folder, target_modules=["q_proj", "v_proj"])
    content = json.loads((adapter / CONFIG_FILE).read_text())
    (adapter / CONFIG_FILE).write_text(json.dumps(content | changes))
    with pytest.raises(AdapterError, match=said) as caught:
        attach_adapter(load(llama_folder), "tuned", str(adapter))
    assert "\n" not in str(caught.value)

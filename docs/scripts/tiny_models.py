"""A tiny model with random weights of each family that docs/families.md lists."""
# ruff: noqa: INP001

from typing import Any

N_VOCABULARY = 260
WINDOW, BOUNDARY, LONGEST = 24, 40, 256
"""Sliding or local window, LongRoPE's boundary, and positions of every family that has them."""
SIZES = {
    "vocab_size": N_VOCABULARY, "hidden_size": 32, "d_model": 32, "n_embd": 32, "embed_dim": 32,
    "intermediate_size": 64, "ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_ffn_dim": 64, "n_inner": 64,
    "num_hidden_layers": 2, "num_layers": 2, "n_layer": 2, "n_layers": 2, "decoder_layers": 2, "encoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "decoder_attention_heads": 4,
    "encoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": LONGEST,
    "n_positions": LONGEST, "n_ctx": LONGEST, "max_seq_len": LONGEST, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 8, "kv_lora_rank": 8,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "mamba_d_state": 4, "mamba_n_heads": 8,
    "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_expand": 2, "mamba_dt_rank": 4, "state_size": 4,
    "sliding_window": WINDOW, "attention_window_size": WINDOW, "initializer_range": 0.3, "init_std": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Settings of a tiny model; a family takes those that it has."""
_MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_LINEAR_SIZES = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
_LATENT = {"num_key_value_heads": 4}
_LONGROPE = {
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "factor": LONGEST / BOUNDARY,
        "original_max_position_embeddings": BOUNDARY, "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 6.0, 9.0],
    },
    "original_max_position_embeddings": BOUNDARY,
}  # fmt: skip
_HYBRID = {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "AFMoE": ("afmoe", _MIXED),
    "Apertus": ("apertus", {}),
    "Arcee": ("arcee", {}),
    "Bamba": ("bamba", {"attn_layer_indices": [1], "num_hidden_layers": 2}),
    "BART decoder": ("bart", {}),
    "BioGPT": ("biogpt", {}),
    "Bloom (ALiBi)": ("bloom", {}),
    "CodeGen": ("codegen", {"rotary_dim": 4}),
    "Cohere": ("cohere", {"logit_scale": 0.0625}),
    "Cohere 2": ("cohere2", _MIXED),
    "CTRL": ("ctrl", {"dff": 64}),
    "DeepSeek-V2": ("deepseek_v2", _LATENT),
    "DeepSeek-V3": ("deepseek_v3", _LATENT),
    "DiffLlama": ("diffllama", {}),
    "Ernie 4.5": ("ernie4_5", {}),
    "Ernie 4.5 MoE": ("ernie4_5_moe", {}),
    "EXAONE 4": ("exaone4", _MIXED),
    "Falcon": ("falcon", {}),
    "Falcon (ALiBi)": ("falcon", {"alibi": True}),
    "Falcon-H1": ("falcon_h1", {"mamba_d_ssm": 64}),
    "Falcon-Mamba": ("falcon_mamba", {}),
    "FlexOLMo": ("flex_olmo", {}),
    "Gemma": ("gemma", {}),
    "Gemma 2": ("gemma2", _MIXED | {"final_logit_softcapping": 3.0}),
    "Gemma 3": ("gemma3_text", _MIXED),
    "GLM": ("glm", {}),
    "GLM-4": ("glm4", {}),
    "GLM-4 MoE": ("glm4_moe", {}),
    "GPT-1": ("openai-gpt", {}),
    "GPT-2": ("gpt2", {}),
    "GPT-BigCode": ("gpt_bigcode", {}),
    "GPT-J": ("gptj", {"rotary_dim": 4}),
    "GPT-Neo": (
        "gpt_neo",
        {"window_size": WINDOW, "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 2048},
    ),
    "GPT-NeoX": ("gpt_neox", {}),
    "GPT-OSS (attention sinks)": ("gpt_oss", _MIXED),
    "Granite": ("granite", {}),
    "Granite MoE": ("granitemoe", {}),
    "Granite MoE hybrid": ("granitemoehybrid", {"layer_types": ["mamba", "attention"]}),
    "Helium": ("helium", {}),
    "Hunyuan": ("hunyuan_v1_dense", {}),
    "Jamba": ("jamba", _HYBRID | {"use_mamba_kernels": False, "num_hidden_layers": 4}),
    "JetMoE": ("jetmoe", {}),
    "LFM2 (convolutions)": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "Llama": ("llama", {}),
    "Llama (dynamic NTK)": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
    "Llama (LongRoPE)": ("llama", _LONGROPE),
    "Llama 4 (chunked attention)": (
        "llama4_text",
        {"attention_chunk_size": WINDOW, "layer_types": ["chunked_attention", "full_attention"]},
    ),
    "Mamba": ("mamba", {}),
    "Mamba 2": ("mamba2", {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16}),
    "MiniMax": ("minimax", _LINEAR | {"block_size": 16}),
    "Ministral": ("ministral", _MIXED),
    "Mistral": ("mistral", {}),
    "Mixtral": ("mixtral", {}),
    "ModernBERT decoder": ("modernbert-decoder", _MIXED | {"local_attention": WINDOW}),
    "MPT (ALiBi)": ("mpt", {}),
    "Nemotron": ("nemotron", {}),
    "Nemotron-H": ("nemotron_h", {"layer_types": ["linear_attention", "moe", "full_attention", "mlp"]}),
    "OLMo": ("olmo", {}),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3": ("olmo3", _MIXED),
    "OLMo hybrid": ("olmo_hybrid", _LINEAR | _LINEAR_SIZES),
    "OLMoE": ("olmoe", {}),
    "OPT": ("opt", {"word_embed_proj_dim": 16}),
    "Persimmon": ("persimmon", {}),
    "Phi": ("phi", {}),
    "Phi-3": ("phi3", {}),
    "Phi-3 (LongRoPE)": ("phi3", _LONGROPE),
    "Phi-3.5 MoE": ("phimoe", {}),
    "Qwen2": ("qwen2", _MIXED | {"use_sliding_window": True}),
    "Qwen2-MoE": ("qwen2_moe", {}),
    "Qwen3": ("qwen3", {}),
    "Qwen3-MoE": ("qwen3_moe", {}),
    "Qwen3-Next": ("qwen3_next", _LINEAR | _LINEAR_SIZES),
    "Qwen3.5": ("qwen3_5_text", _LINEAR | _LINEAR_SIZES),
    "RecurrentGemma": ("recurrent_gemma", {"block_types": ["recurrent", "attention"], "lru_width": 32}),
    "RWKV (token shift)": ("rwkv", {"attention_hidden_size": 32}),
    "Seed-OSS": ("seed_oss", {}),
    "SmolLM3": ("smollm3", {}),
    "StableLM": ("stablelm", {}),
    "StarCoder 2": ("starcoder2", {}),
    "VaultGemma": ("vaultgemma", _MIXED),
    "XGLM": ("xglm", {}),
    "xLSTM": ("xlstm", {}),
    "Zamba2": ("zamba2", {"layers_block_type": ["mamba", "hybrid"], "num_mem_blocks": 1}),
}
"""Name in the table -> transformers' model type, and settings besides `SIZES`."""


def build(family: str) -> Any:
    """Returns a model of a family, with the same random weights at each call."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    model_type, changes = FAMILIES[family]
    config_class = CONFIG_MAPPING[model_type]
    known = config_class().to_dict()
    aliases = getattr(config_class, "attribute_map", {})
    sizes = {name: value for name, value in SIZES.items() if name in known or name in aliases}
    if "layer_types" in changes and "num_hidden_layers" in sizes:
        sizes["num_hidden_layers"] = len(changes["layer_types"])
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config_class(**sizes | changes)).eval()

"""A small Llama as a GGUF file, as llama.cpp's converter writes it."""

import json

from gguf import GGUFWriter, TokenType
from transformers import AutoModelForCausalLM, AutoTokenizer

from adaptkit.models.untrained.scratch import make_model

TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"


def write_llama(folder, texts):
    """Write `folder/model.gguf` (fp32) and, as an ordinary folder beside it, `folder/llama`."""
    make_model("llama", texts, folder / "llama", vocab_size=300)
    model = AutoModelForCausalLM.from_pretrained(folder / "llama")
    writer = GGUFWriter(folder / "model.gguf", "llama")
    _write_settings(writer, model.config)
    _write_tokenizer(writer, AutoTokenizer.from_pretrained(folder / "llama"), folder / "llama")
    heads = {
        "attn_q": model.config.num_attention_heads,
        "attn_k": model.config.num_key_value_heads,
    }
    for name, tensor in model.state_dict().items():
        path, _, _ = name.rpartition(".")
        array = tensor.float().numpy()
        if path.startswith("model.layers."):
            _, _, layer, rest = path.split(".", 3)
            if part := heads.get(TENSORS[rest]):  # rotary halves become pairs
                array = array.reshape(part, 2, -1, array.shape[1]).swapaxes(1, 2)
                array = array.reshape(tensor.shape)
            writer.add_tensor(f"blk.{layer}.{TENSORS[rest]}.weight", array)
        elif path == "model.embed_tokens":
            writer.add_tensor("token_embd.weight", array)
        elif path == "model.norm":
            writer.add_tensor("output_norm.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "model.gguf"


def _write_settings(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer, tokenizer, folder):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    special = set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    kinds = [TokenType.CONTROL if i in special else TokenType.NORMAL for i in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(TEMPLATE)

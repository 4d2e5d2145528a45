"""Writes a random Qwen2 as GGUF, for llama.cpp: write_gguf.py FILE SHAPE (JSON, with the dtype). The vocabulary is made of numbers: prompts
are ids."""
import json
import sys

import gguf
import torch

from qwen2 import qwen2

path, shape = sys.argv[1], json.loads(sys.argv[2])
torch.manual_seed(0)
net = qwen2(shape)
config, vocab = net.config, shape["vocabSize"]
file = gguf.GGUFWriter(path, "qwen2")
file.add_context_length(config.max_position_embeddings)
file.add_embedding_length(config.hidden_size)
file.add_block_count(config.num_hidden_layers)
file.add_feed_forward_length(config.intermediate_size)
file.add_head_count(config.num_attention_heads)
file.add_head_count_kv(config.num_key_value_heads)
file.add_layer_norm_rms_eps(config.rms_norm_eps)
file.add_rope_freq_base(10_000.0)
file.add_tokenizer_model("gpt2")
file.add_tokenizer_pre("qwen2")
file.add_token_list([str(i) for i in range(vocab)])
file.add_token_types([gguf.TokenType.NORMAL] * vocab)
file.add_token_merges(["0 1"])
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
for name, tensor in net.state_dict().items():
    if name == "lm_head.weight":  # tied
        continue
    there = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if tensor.dim() > 1 and shape["dtype"] == "bfloat16":
        file.add_tensor(there, tensor.bfloat16().view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:  # llama.cpp wants vectors in float32
        file.add_tensor(there, tensor.float().numpy())
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()

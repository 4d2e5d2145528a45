"""Random Qwen2 models of transformers, from the shapes that the benches send."""
from transformers import Qwen2Config, Qwen2ForCausalLM


def qwen2(shape):
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape["vocabSize"],
            hidden_size=shape["hiddenSize"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kvHeads"],
            intermediate_size=shape["intermediateSize"],
            max_position_embeddings=shape["maxPositionEmbeddings"],
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
    )

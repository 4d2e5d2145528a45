"""Prefill, and greedy decoding with a dynamic cache, by transformers; prompts of one length, so nothing is padded."""
import torch

from peer import DTYPES, serve
from qwen2 import qwen2


def make(model, mode, batch, prompt, tokens, dtype):
    net = qwen2(model).to(DTYPES[dtype]).eval()
    ids = torch.randint(3, model["vocabSize"], (batch, prompt))

    def prefill():
        return net(ids, use_cache=True, logits_to_keep=1)

    if mode == "prefill":

        def run():
            with torch.inference_mode():
                prefill().logits.argmax(-1).tolist()

        return run
    with torch.inference_mode():
        cache = prefill().past_key_values

    def decode():
        with torch.inference_mode():
            made = cache.get_seq_length() - prompt
            if made > 0:
                cache.crop(-made)  # a negative number removes so many
            last = ids[:, -1:]
            for _ in range(tokens):
                last = net(last, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
                last.tolist()  # a token is delivered as soon as there is one

    return decode


serve(make)

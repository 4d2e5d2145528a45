"""Classification by transformers' ModernBERT of random weights, the inputs padded to the longest."""
import torch

from modernbert import modernbert, padded
from peer import DTYPES, serve


def make(model, dtype):
    net = modernbert(model).to(DTYPES[dtype])
    ids, mask = padded(model["lengths"], model["vocabSize"])

    def run():
        with torch.inference_mode():
            net(input_ids=ids, attention_mask=mask).logits.tolist()

    return run


serve(make)

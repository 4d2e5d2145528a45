"""Classification by transformers' ModernBERT of random weights, one input after the other: padded to the longest
they take longer."""
import torch

from modernbert import modernbert
from peer import DTYPES, serve


def make(model, dtype):
    net = modernbert(model).to(DTYPES[dtype])
    inputs = [torch.randint(3, model["vocabSize"], (1, length)) for length in model["lengths"]]

    def run():
        with torch.inference_mode():
            for ids in inputs:
                net(input_ids=ids).logits.tolist()

    return run


serve(make)

"""Classification by transformers' ModernBERT of random weights, the inputs padded to the longest."""
import torch
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from peer import DTYPES, serve


def make(model, dtype):
    config = ModernBertConfig(
        vocab_size=model["vocabSize"],
        hidden_size=model["hiddenSize"],
        intermediate_size=model["intermediateSize"],
        num_hidden_layers=model["layers"],
        num_attention_heads=model["heads"],
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        num_labels=3,
        classifier_pooling="mean",
        attn_implementation="sdpa",
    )
    net = ModernBertForSequenceClassification(config).to(DTYPES[dtype]).eval()
    lengths = torch.tensor(model["lengths"])
    longest = int(lengths.max())
    ids = torch.randint(3, model["vocabSize"], (len(lengths), longest))
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    ids[mask == 0] = 0

    def run():
        with torch.inference_mode():
            net(input_ids=ids, attention_mask=mask).logits.tolist()

    return run


serve(make)

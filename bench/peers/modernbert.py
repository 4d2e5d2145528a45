"""Random ModernBERT classifiers of transformers, from the shapes that the benches send, and padded inputs for them."""
import torch
from transformers import ModernBertConfig, ModernBertForSequenceClassification


def modernbert(shape):
    return ModernBertForSequenceClassification(
        ModernBertConfig(
            vocab_size=shape["vocabSize"],
            hidden_size=shape["hiddenSize"],
            intermediate_size=shape["intermediateSize"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            cls_token_id=1,
            sep_token_id=2,
            num_labels=3,
            classifier_pooling="mean",
            attn_implementation="sdpa",
        )
    ).eval()


def padded(lengths, vocab):
    """Random ids [inputs, longest], 0 beyond the length of an input, and the mask of what is no padding."""
    lengths = torch.tensor(lengths)
    longest = int(lengths.max())
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    return torch.randint(3, vocab, mask.shape) * mask, mask

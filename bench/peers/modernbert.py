"""Random ModernBERT classifiers of transformers, from the shapes that the benches send."""
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

"""Exports a random ModernBERT classifier to ONNX, for inputs of any number and length: write_onnx.py FILE SHAPE (JSON)."""
import json
import sys

import torch

from modernbert import modernbert

path, shape = sys.argv[1], json.loads(sys.argv[2])
torch.manual_seed(0)
any_size = {0: "inputs", 1: "tokens"}
torch.onnx.export(
    modernbert(shape),
    (torch.zeros(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.long)),
    path,
    input_names=["input_ids", "attention_mask"],
    output_names=["logits"],
    dynamic_axes={"input_ids": any_size, "attention_mask": any_size, "logits": {0: "inputs"}},
    dynamo=False,
)

"""Makes an adapter of the tiny model that brings tokens of its own, and what it answers.

    PYTHONPATH=client/python python tests/golden/added_tokens.py

The tokenizer gets three tokens, the embedding three rows, and LoRA trains them by
``trainable_token_indices``: all of it by transformers and peft, which write the adapter's files and draw the
answers, in float32. Run from the root of the repository; README.md describes the files.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
BASE, NAME = "deploy/models/tiny", "tiny_added_tokens"
SEED, STEPS = 9, 24
TOOL, NOTE, DONE = "<|tool|>", "<note>", "<|done|>"  # special, ordinary, and the one that ends answers
PROMPTS = (f"{TOOL}First{NOTE} Citizen:", f"Once upon {NOTE}a time{TOOL}", f"{NOTE}The{NOTE}king")
SCALE = 2.0  # of the new rows against the base's, so that the new tokens are drawn now and then


def main() -> None:
    directory = HERE / "adapters" / NAME
    shutil.rmtree(directory, ignore_errors=True)
    tokenizer = extended(AutoTokenizer.from_pretrained(BASE))
    trained(len(tokenizer)).save_pretrained(directory, save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)
    (directory / "adapter_model.safetensors").chmod(0o644)
    config = json.loads((directory / "adapter_config.json").read_text()) | {"base_model_name_or_path": "hydrad-tiny"}
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (directory / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(pretty=False) + "\n")
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": DONE}) + "\n")

    model = peft.PeftModel.from_pretrained(resized(len(tokenizer)), directory).eval()
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    answers = {"format": 1, "model": BASE, "adapter": f"tests/golden/adapters/{NAME}", "versions": versions,
               "prompts": [answer(model, tokenizer, text) for text in PROMPTS]}
    (HERE / "added_tokens.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")


def extended(tokenizer):
    """The tokenizer with the tokens that the adapter brings."""
    tokenizer.add_tokens([TOOL], special_tokens=True)
    tokenizer.add_tokens([NOTE])
    tokenizer.add_special_tokens({"eos_token": DONE})
    return tokenizer


def resized(tokens: int):
    """The base model with rows for so many tokens; the new ones are whatever transformers draws."""
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager")
    model.resize_token_embeddings(tokens, mean_resizing=False)
    return model


def trained(tokens: int) -> peft.PeftModel:
    """A LoRA with random numbers, those of the new tokens' rows too, in bfloat16."""
    model, old = resized(tokens), AutoConfig.from_pretrained(BASE).vocab_size
    scale = model.get_input_embeddings().weight.std().item()
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=2, lora_alpha=8, target_modules=["v_proj", "down_proj"], layers_to_transform=[1, 3],
        task_type="CAUSAL_LM", trainable_token_indices=list(range(old, tokens))))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
        if "trainable_tokens_delta" in name:
            torch.nn.init.normal_(parameter, std=SCALE * scale)
    return model.to(torch.bfloat16)



@torch.no_grad()
def answer(model: torch.nn.Module, tokenizer, text: str) -> dict:
    """A prompt, its ids, and the tokens of largest logit that follow, whatever ends answers."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    tokens, margins, logprobs = [], [], []
    for _ in range(STEPS):
        row = model(input_ids=torch.tensor([ids + tokens])).logits[0, -1]
        (first, second), (token, _) = row.topk(2)
        tokens.append(int(token))
        margins.append(float(first - second))
        logprobs.append(float(row.log_softmax(-1)[token]))
    texts = {}
    for name, skip in (("text", True), ("text_with_special", False)):
        before, whole = (tokenizer.decode(part, skip_special_tokens=skip) for part in (ids, ids + tokens))
        texts[name] = whole[len(before):]
    return {"text": text, "ids": ids, "greedy": {"ids": tokens, "margins": margins, "logprobs": logprobs} | texts}


if __name__ == "__main__":
    main()

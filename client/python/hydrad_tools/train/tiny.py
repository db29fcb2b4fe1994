"""Trains the small Llama that tests and the quickstart use: its tokenizer, then its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hydrad_tools.safetensors_io import bf16, write_safetensors
from hydrad_tools.train.corpora import Corpus, Mixture, encode
from hydrad_tools.train.loop import Schedule, held_out_loss, seed_everything, train

SPECIAL_TOKENS = ["<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")
_TOKENIZER_SAMPLE = 400_000  # characters of each domain that the tokenizer learns from


@dataclass(frozen=True)
class TinyShape:
    """The extents of the network."""

    vocabulary: int = 1024
    hidden: int = 128
    intermediate: int = 320
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    positions: int = 512

    def config(self) -> dict:
        """The ``config.json`` of the model."""
        return {
            "_name_or_path": "hydrad-tiny", "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.hidden // self.heads,
            "max_position_embeddings": self.positions, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "rope_scaling": None, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": True, "vocab_size": self.vocabulary,
            "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "torch_dtype": "bfloat16",
        }


def train_tiny(target: Path, corpora: list[Corpus], shape: TinyShape, schedule: Schedule,
               length: int, seed: int, threads: int) -> dict[str, float]:
    """Trains on ``corpora`` and writes the Hugging Face layout into ``target``.

    Sequences have ``length`` tokens. Returns the held-out loss of the rounded model by domain.
    The result depends on the arguments and the version of PyTorch alone.
    """
    seed_everything(seed, threads)
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = _write_tokenizer(target, corpora, shape)
    streams = [encode(tokenizer, corpus.train) for corpus in corpora]
    model = LlamaForCausalLM(LlamaConfig(**shape.config())).float()
    train(model, Mixture(corpora, streams, length, seed), schedule)
    _write_model(target, model, shape)
    return {corpus.name: held_out_loss(model, encode(tokenizer, corpus.held_out), length, limit=64)
            for corpus in corpora}


def _write_tokenizer(target: Path, corpora: list[Corpus], shape: TinyShape) -> PreTrainedTokenizerFast:
    """Learns a byte-level BPE whose first ids are SPECIAL_TOKENS, and writes its two files."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=shape.vocabulary, special_tokens=SPECIAL_TOKENS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator([_sample_text(corpus) for corpus in corpora], trainer)
    tokenizer.save(str(target / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": shape.positions,
              "clean_up_tokenization_spaces": False, "bos_token": SPECIAL_TOKENS[0],
              "eos_token": SPECIAL_TOKENS[0], "pad_token": SPECIAL_TOKENS[0], "chat_template": CHAT_TEMPLATE}
    _write_json(target / "tokenizer_config.json", config)
    return PreTrainedTokenizerFast.from_pretrained(target)


def _sample_text(corpus: Corpus) -> str:
    text = "\n\n".join(f"{d.prompt}\n{d.reply}" if d.prompt else d.reply for d in corpus.train)
    return text[:_TOKENIZER_SAMPLE]


def _write_model(target: Path, model: LlamaForCausalLM, shape: TinyShape) -> None:
    """Rounds the weights of ``model`` to bfloat16, in place and in ``target``."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    tied = {"lm_head.weight"}
    tensors = {name: bf16(value.numpy()) for name, value in model.state_dict().items() if name not in tied}
    write_safetensors(target / "model.safetensors", tensors)
    _write_json(target / "config.json", shape.config())
    ends = [SPECIAL_TOKENS.index("<|endoftext|>"), SPECIAL_TOKENS.index("<|end|>")]
    _write_json(target / "generation_config.json", {"bos_token_id": 0, "eos_token_id": ends, "pad_token_id": 0})


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

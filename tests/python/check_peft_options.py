"""Checks that the daemon serves what the newest PEFT writes, option by option of its LoraConfig.

Run by hand where torch, transformers and peft can be imported; CI has none of them:

    pip install torch transformers peft
    python tests/python/check_peft_options.py --bin build/bin

For every option it makes a checkpoint with PEFT's own save_pretrained on a tiny random Llama, loads it into a
running daemon and compares the log-probabilities of the daemon's greedy answer with those of PEFT's own forward of
what from_pretrained gives back; or, for what is not served, asks that the daemon refuses it and names the field. An
option of LoraConfig that the table below does not mention fails the run: a new PEFT must be looked at.

``--write DIR`` only writes the checkpoints there.
"""
import argparse
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, LoraRuntimeConfig, MontecloraConfig, VeloraConfig
from transformers import LlamaConfig, LlamaForCausalLM

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
LAYERS, TOKENS = 3, 6
CHARACTERS = [chr(code) for code in range(0x21, 0x7f)]  # a token each
VOCABULARY = len(CHARACTERS)


def options() -> dict[str, tuple]:
    """Name -> (arguments of LoraConfig, None or the field of the refusal). A name may be "option: variant"."""
    table = {
        "r": (dict(r=3), None),
        "target_modules": (dict(target_modules=ALL), None),
        "target_modules: regex": (dict(target_modules=r".*layers\.[02]\.self_attn\.(q|v)_proj"), None),
        "target_modules: all-linear": (dict(target_modules="all-linear"), None),
        "target_modules: default": (dict(target_modules=None), None),
        "target_modules: embedding and head": (dict(target_modules=["q_proj", "embed_tokens", "lm_head"]), None),
        "target_modules: paths": (dict(target_modules=["model.layers.1.self_attn.q_proj", "down_proj"]), None),
        "exclude_modules": (dict(exclude_modules=["layers.1.self_attn.q_proj"]), None),
        "exclude_modules: regex": (dict(exclude_modules=r".*layers\.0\..*"), None),
        "lora_alpha": (dict(lora_alpha=13), None),
        "lora_dropout": (dict(lora_dropout=0.3), None),
        "fan_in_fan_out": (dict(fan_in_fan_out=False), None),  # PEFT resets it for nn.Linear
        "bias": (dict(bias="all"), None),
        "bias: lora_only": (dict(bias="lora_only"), None),
        "use_rslora": (dict(use_rslora=True), None),
        "modules_to_save": (dict(modules_to_save=["lm_head"]), None),
        "modules_to_save: both": (dict(modules_to_save=["embed_tokens", "lm_head"]), None),
        "modules_to_save: norm": (dict(modules_to_save=["norm"]), "modules_to_save"),
        "init_lora_weights": (dict(init_lora_weights=True), None),
        "init_lora_weights: gaussian": (dict(init_lora_weights="gaussian"), None),
        "init_lora_weights: orthogonal": (dict(init_lora_weights="orthogonal", r=4), None),
        "init_lora_weights: mica": (dict(init_lora_weights="mica"), None),
        "init_lora_weights: mica, embedding": (dict(init_lora_weights="mica", target_modules=["embed_tokens"]), None),
        "init_lora_weights: pissa": (dict(init_lora_weights="pissa"), "init_lora_weights"),
        "init_lora_weights: olora": (dict(init_lora_weights="olora"), "init_lora_weights"),
        "layers_to_transform": (dict(layers_to_transform=[0, 2]), None),
        "layers_to_transform: one": (dict(layers_to_transform=1), None),
        "layers_pattern": (dict(layers_to_transform=[1], layers_pattern="layers"), None),
        "rank_pattern": (dict(rank_pattern={r"layers\.1\.self_attn\.q_proj": 5, "v_proj": 2}), None),
        "alpha_pattern": (dict(alpha_pattern={"v_proj": 3}), None),
        "megatron_config": (None, "not written by save_pretrained without Megatron"),
        "megatron_core": (dict(megatron_core="megatron.core"), None),
        "trainable_token_indices": (dict(trainable_token_indices=[5, 9, 2]), None),
        "trainable_token_indices: both": (dict(trainable_token_indices={"embed_tokens": [4, 7], "lm_head": [1, 7]}),
                                          None),
        "loftq_config": (None, "written as loftq alone, with init_lora_weights"),
        "eva_config": (None, "needs data; told by init_lora_weights"),
        "corda_config": (None, "needs data; told by init_lora_weights"),
        "lora_ga_config": (None, "needs gradients; told by init_lora_weights"),
        "use_dora": (dict(use_dora=True), None),
        "velora_config": (dict(velora_config=VeloraConfig(num_groups=4)), None),
        "alora_invocation_tokens": (dict(alora_invocation_tokens=[3, 4], task_type="CAUSAL_LM"), None),
        "use_qalora": (None, "for GPTQ alone"),
        "qalora_group_size": (dict(qalora_group_size=8), None),
        "monteclora_config": (dict(monteclora_config=MontecloraConfig()), "monteclora_config"),
        "layer_replication": (dict(layer_replication=[[0, 2], [1, 3]]), "layer_replication"),
        "runtime_config": (dict(runtime_config=LoraRuntimeConfig()), None),
        "lora_bias": (dict(lora_bias=True), None),
        "target_parameters": (dict(target_parameters=["q_proj.weight"], target_modules=[]), "target_parameters"),
        "use_bdlora": (dict(use_bdlora=BdLoraConfig(target_modules_bd_a=["o_proj"], target_modules_bd_b=["q_proj"],
                                                    nblocks=2, match_strict=False), target_modules=["q_proj", "o_proj"],
                            r=4), "use_bdlora"),
        "arrow_config": (None, "made of adapters at run time; arrow_config: {...} is refused"),
        "kasa_config": (dict(kasa_config=KasaConfig()), "kasa_config"),
        "ensure_weight_tying": (dict(ensure_weight_tying=True, modules_to_save=["embed_tokens"]), None),
        "ensure_weight_tying: targets": (dict(ensure_weight_tying=True, target_modules=["embed_tokens", "q_proj"]),
                                         None),
        "ensure_weight_tying: tokens": (dict(ensure_weight_tying=True, trainable_token_indices=[5, 9]), None),
    }
    return table


def base_model(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5,
                         tie_word_embeddings=tied, attention_bias=True, mlp_bias=True, eos_token_id=None,
                         bos_token_id=None)
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def make(model: LlamaForCausalLM, arguments: dict, path: Path) -> None:
    """A checkpoint whose trained tensors are not what they began as."""
    config = LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]} | arguments))
    peft = get_peft_model(model, config)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    peft.save_pretrained(path)


def save_base(path: Path, tied: bool) -> None:
    base_model(tied).save_pretrained(path)
    (path / "generation_config.json").unlink(missing_ok=True)
    vocabulary = {character: token for token, character in enumerate(CHARACTERS)}
    (path / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                  "merges": []}}))


def reference(base: Path, adapter: Path, prompt: list[int]) -> tuple[list[int], list[float]]:
    """PEFT's greedy continuation, without a cache, and its log-probabilities."""
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    ids, chosen = list(prompt), []
    for _ in range(TOKENS):
        inputs = torch.tensor([ids])
        extra = {}
        if model.peft_config["default"].alora_invocation_tokens:
            extra["alora_offsets"] = [len(ids) - prompt.index(3)]
        with torch.no_grad():
            logits = model(input_ids=inputs, **extra).logits[0, -1].double()
        chosen.append(float(torch.log_softmax(logits, -1).max()))
        ids.append(int(logits.argmax()))
    return ids[len(prompt):], chosen


class Daemon:
    """A hydrad with weights of type F32 on free loopback ports."""

    def __init__(self, binaries: Path, base: Path, root: Path):
        self.process = subprocess.Popen(
            [binaries / "hydrad", "--model", base, "--adapter-root", root, "--weights", "f32", "--device", "cpu",
             "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
             "--http-listen", "127.0.0.1:0"],
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if match := re.search(r"ready: inference (\S+?),? admin (\S+?),? ", line):
                break
        else:
            sys.exit("hydrad did not start")
        self.hydractl = [binaries / "hydractl", "--server", match[1], "--admin", match[2]]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([*self.hydractl, *arguments], capture_output=True, text=True)

    def answer(self, case: dict) -> dict:
        """The error of the adapter's load, or the ids and log-probabilities of a greedy answer."""
        loaded = self.run("adapter", "load", case["path"], "--path", case["path"])
        if loaded.returncode != 0:
            return {"error": loaded.stderr}
        text = "".join(CHARACTERS[token] for token in case["prompt"])
        out = self.run("generate", "--adapter", case["path"], "--temperature", "0", "--max-tokens", str(TOKENS),
                       "--ignore-eos", "--json", "--logprobs", "0", text)
        if out.returncode != 0:
            return {"error": out.stderr}
        choice = json.loads(out.stdout)
        choice = choice.get("choices", [choice])[0]
        return {"ids": choice["token_ids"], "logprobs": [entry["logprob"] for entry in choice["logprobs"]]}


def judge(case: dict, answer: dict, expected) -> str:
    """Empty, or what is wrong."""
    field = case["refused"]
    if field is not None:
        return "" if answer.get("error") and field in answer["error"] else f"is not refused by {field}: {answer}"
    if answer.get("error"):
        return f"is refused: {answer['error']}"
    ids, logprobs = expected
    worst = max(abs(a - b) for a, b in zip(logprobs, answer["logprobs"], strict=True))
    return "" if ids == answer["ids"] and worst < 2e-4 else f"differs by {worst:.2g}: {ids} {answer['ids']}"


def check_table(table: dict) -> list[str]:
    of_peft = {field.name for field in dataclasses.fields(LoraConfig)} - {
        "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
        "inference_mode"}
    return sorted(of_peft ^ {name.split(":")[0] for name in table})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, default=Path("build/bin"), help="where hydrad and hydractl are")
    parser.add_argument("--write", type=Path, help="only write the checkpoints here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    table = options()
    failures = [f"{name}: is not in the table" for name in check_table(table)]
    prompt = [7, 3, 4, 11, 23, 5, 9, 40]
    with tempfile.TemporaryDirectory() as scratch:
        for tied in (False, True):
            base = (arguments.write or Path(scratch)) / ("tied" if tied else "untied")
            shutil.rmtree(base, ignore_errors=True)
            save_base(base / "base", tied)
            cases = []
            for name, (fields, refused) in table.items():
                if fields is None:
                    continue
                path = base / name.replace(":", "").replace(",", "").replace(" ", "-")
                make(LlamaForCausalLM.from_pretrained(base / "base", dtype=torch.float32), fields, path)
                cases.append({"name": name, "path": path.name, "refused": refused, "prompt": prompt})
            if arguments.write:
                continue
            with Daemon(arguments.bin, base / "base", base) as daemon:
                for case in cases:
                    wanted = None if case["refused"] else reference(base / "base", base / case["path"], prompt)
                    wrong = judge(case, daemon.answer(case), wanted)
                    print(f"{'tied' if tied else 'untied':7} {case['name']:40} {wrong or 'ok'}", flush=True)
                    failures += [f"{case['name']}: {wrong}"] if wrong else []
    sys.exit("\n".join(failures) if failures else 0)


if __name__ == "__main__":
    main()

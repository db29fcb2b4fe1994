"""The ``hydrad-tools`` command line: parses, dispatches, and turns ToolError into exit status 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from hydrad_tools.errors import ToolError

_TRAIN_EXTRA = ("torch", "transformers", "tqdm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status (0 success, 1 a ToolError, 2 bad usage)."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except ToolError as error:
        print(f"hydrad-tools: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in _TRAIN_EXTRA:
            raise
        print(f"hydrad-tools: {error.name} is not installed; training needs pip install 'hydrad-tools[train]'",
              file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The whole command tree; every leaf sets ``run`` to the function that carries it out."""
    parser = argparse.ArgumentParser(
        prog="hydrad-tools", description="Import base models for hydrad; train and inspect adapters.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_model(commands)
    _add_adapter(commands)
    _add_train(commands)
    return parser


def _add_model(commands: argparse._SubParsersAction) -> None:
    model = commands.add_parser("model", help="work with base models")
    actions = model.add_subparsers(required=True, metavar="ACTION")
    importer = actions.add_parser(
        "import", help="turn a GGUF file into the Hugging Face layout that hydrad serves",
        description="Dequantises FILE to bfloat16 and writes config.json, model.safetensors, tokenizer.json, "
                    "tokenizer_config.json and generation_config.json into DIR. Llama architectures with a "
                    "byte-level BPE tokenizer only. Needs no PyTorch.")
    importer.add_argument("file", type=Path, metavar="FILE.gguf")
    importer.add_argument("directory", type=Path, metavar="DIR")
    importer.set_defaults(run=_import_model)


def _import_model(options: argparse.Namespace) -> None:
    from hydrad_tools.gguf_import import import_gguf
    import_gguf(options.file, options.directory)
    print(f"wrote {options.directory}")


def _add_adapter(commands: argparse._SubParsersAction) -> None:
    adapter = commands.add_parser("adapter", help="work with adapters")
    actions = adapter.add_subparsers(required=True, metavar="ACTION")
    inspect = actions.add_parser(
        "inspect", help="say what an adapter holds",
        description="Prints family, scale, ranks, heads, targets and bytes of the adapter in DIR, and a warning for "
                    "everything about it that is unusual or broken. Needs no PyTorch.")
    inspect.add_argument("directory", type=Path, metavar="DIR")
    inspect.set_defaults(run=_inspect_adapter)
    importer = actions.add_parser(
        "import", help="convert an adapter saved as a pickle to safetensors",
        description="Converts SOURCE, a torch .bin or .pth file or a directory with one (adapter_model.bin, "
                    "pytorch_model.bin) and its adapter_config.json, into DIR: LoRA as PEFT saves it, HydraLoRA, "
                    "LoRAMoE, MoE-PEFT's families, AdaMoLE, and the experts of the MoA re-implementation's .pth. "
                    "Nothing in the pickle is executed: it can build tensors and no more. Needs no PyTorch.")
    importer.add_argument("source", type=Path, metavar="SOURCE")
    importer.add_argument("--alpha", type=float, help="lora_alpha of a file that comes without adapter_config.json")
    importer.add_argument("--without-routers", action="store_true",
                          help="leave out routers that hydrad's format cannot hold, instead of refusing the file")
    importer.add_argument("directory", type=Path, metavar="DIR")
    importer.set_defaults(run=_import_adapter)


def _import_adapter(options: argparse.Namespace) -> None:
    from hydrad_tools.adapter_import import ImportOptions, import_adapter
    from hydrad_tools.adapter_inspect import inspect
    notes = import_adapter(options.source, options.directory, ImportOptions(options.alpha, options.without_routers))
    print("\n".join([f"wrote {options.directory}", *notes, *inspect(options.directory).lines()]))


def _inspect_adapter(options: argparse.Namespace) -> None:
    from hydrad_tools.adapter_inspect import inspect
    print("\n".join(inspect(options.directory).lines()))


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="train a small base model or an adapter (needs PyTorch)")
    kinds = train.add_subparsers(required=True, metavar="KIND")
    tiny = kinds.add_parser(
        "tiny", help="a small Llama with its own tokenizer, for tests and demonstrations",
        description="Trains a byte-level BPE tokenizer and a Llama of about 0.8 million parameters on the given "
                    "texts and writes both, in bfloat16 and the Hugging Face layout, into DIR.")
    tiny.add_argument("directory", type=Path, metavar="DIR")
    _add_training_options(tiny, steps=1200, rows=16, length=256, learning_rate=3e-3)
    tiny.set_defaults(run=_train_tiny)
    lora = kinds.add_parser(
        "lora", help="a LoRA or rsLoRA in PEFT's file format",
        description="Trains a LoRA of the model in BASE and writes it into DIR; prints the held-out loss of "
                    "every domain before and after.")
    _add_adapter_options(lora)
    lora.add_argument("--rslora", action="store_true", help="scale by alpha / sqrt(rank) (arXiv 2312.03732)")
    lora.set_defaults(run=_train_adapter, heads=None, domain_weight=0.0)
    hydra = kinds.add_parser(
        "hydralora", help="a HydraLoRA: one shared A, several B heads, a router per projection",
        description="Trains a HydraLoRA (arXiv 2404.19245) of the model in BASE and writes it into DIR; prints "
                    "held-out losses and how far the routers tell the domains apart.")
    _add_adapter_options(hydra)
    hydra.add_argument("--heads", type=_heads, default="auto", metavar="N|auto",
                       help="B heads; auto is the elbow of k-means over TF-IDF, as in the paper (default)")
    hydra.add_argument("--domain-weight", type=float, default=0.1,
                       help="weight of a loss that ties head i to the i-th --text; 0, the paper's way, leaves "
                            "the routers to the language-model loss (default %(default)s)")
    hydra.set_defaults(run=_train_adapter, rslora=False)
    moa = kinds.add_parser(
        "moa", help="a MoA: a LoRA per domain, and routers that pick one per sequence",
        description="Trains a MoA (arXiv 2403.03432) of the model in BASE and writes it into DIR: first a LoRA for "
                    "every --text on that text alone, then all of them and a router per layer together. Prints "
                    "held-out losses and how often the routers are right.")
    _add_adapter_options(moa)
    moa.add_argument("--stage-one-steps", type=int, default=100, metavar="N",
                     help="optimiser steps of each domain's LoRA, before --steps of them all (default %(default)s)")
    moa.add_argument("--expert", type=_named_path, action="append", default=[], metavar="NAME=DIR",
                     help="a LoRA in PEFT's format that is NAME's already, instead of stage 1; repeatable")
    moa.add_argument("--eta", type=float, default=1.0,
                     help="weight of the routers' cross entropy against the domain (default %(default)s)")
    moa.add_argument("--pool", choices=("mean", "last"), default="mean",
                     help="what a router reads of the prompt: the mean of its tokens' states, or the last one's "
                          "(default %(default)s)")
    moa.add_argument("--decision", choices=("vote", "last", "layer", "label"), default="vote",
                     help="who decides unless a request says (default %(default)s)")
    moa.set_defaults(run=_train_moa)


def _named_path(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=DIR")
    return name, Path(path)


def _heads(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _add_adapter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", type=Path, metavar="BASE", help="directory of the base model")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the adapter is written")
    parser.add_argument("--base-name", help="base_model_name_or_path to record (default: the name of BASE)")
    parser.add_argument("--rank", type=int, default=8, help="default %(default)s")
    parser.add_argument("--alpha", type=float, default=16, help="default %(default)s")
    parser.add_argument("--targets", default="q_proj,v_proj", help="projections, by commas (default %(default)s)")
    parser.add_argument("--windows", type=int, default=48,
                        help="held-out sequences measured per domain, at most (default %(default)s)")
    parser.add_argument("--base-dtype", choices=("float32", "bfloat16"), default="float32",
                        help="arithmetic of the frozen base (default %(default)s)")
    _add_training_options(parser, steps=300, rows=8, length=128, learning_rate=1e-3)


def _add_training_options(parser: argparse.ArgumentParser, steps: int, rows: int, length: int,
                          learning_rate: float) -> None:
    parser.add_argument("--text", action="append", required=True, metavar="NAME[:WEIGHT]=FILE[,FILE...]",
                        help="a domain and its files (.txt, .jsonl, .csv, .gz of these); repeatable; the last "
                             "tenth of every file is held out; WEIGHT is the share of sequences (default 1)")
    parser.add_argument("--steps", type=int, default=steps, help="optimiser steps (default %(default)s)")
    parser.add_argument("--rows", type=int, default=rows, help="sequences per step (default %(default)s)")
    parser.add_argument("--length", type=int, default=length, help="tokens per sequence (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help="peak (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")


def _train_tiny(options: argparse.Namespace) -> None:
    from hydrad_tools.train.corpora import parse_corpus
    from hydrad_tools.train.loop import Schedule
    from hydrad_tools.train.tiny import TinyShape, train_tiny
    corpora = [parse_corpus(text) for text in options.text]
    schedule = Schedule(options.steps, options.rows, options.learning_rate, weight_decay=0.05)
    losses = train_tiny(options.directory, corpora, TinyShape(), schedule, options.length, options.seed,
                        options.threads)
    for name, loss in losses.items():
        print(f"held-out loss of {name}: {loss:.3f} nats per token")


def _train_adapter(options: argparse.Namespace) -> None:
    import torch

    from hydrad_tools.train.adapter import Run, train_adapter
    from hydrad_tools.train.corpora import parse_corpus
    from hydrad_tools.train.loop import Schedule
    from hydrad_tools.train.low_rank import AdapterShape
    corpora = [parse_corpus(text) for text in options.text]
    heads = _picked_heads(corpora, options.seed) if options.heads == "auto" else options.heads
    shape = AdapterShape(options.rank, options.alpha, tuple(options.targets.split(",")), heads, options.rslora)
    schedule = Schedule(options.steps, options.rows, options.learning_rate)
    run = Run(options.base, options.base_name or options.base.name, shape, schedule, options.length, options.seed,
              options.threads, getattr(torch, options.base_dtype), options.domain_weight, options.windows)
    report = train_adapter(options.directory, corpora, run)
    print(f"parameters: {report.parameters:,}")
    print("domain  base  adapted   (held-out nats per token)")
    for name, (before, after) in report.losses.items():
        print(f"{name}  {before:.3f}  {after:.3f}")
    if report.separation:
        for figure, value in vars(report.separation).items():
            print(f"{figure}: {value:.3f}")


def _picked_heads(corpora: list, seed: int) -> int:
    from hydrad_tools.train.clusters import pick_heads
    picked = pick_heads(corpora, seed)
    print(f"heads: {picked.heads}, the elbow of " + " ".join(f"{value:.0f}" for value in picked.distances)
          + " (squared distances in 1, 2, ... groups)", flush=True)
    return picked.heads


def _train_moa(options: argparse.Namespace) -> None:
    import torch

    from hydrad_tools.train.corpora import parse_corpus
    from hydrad_tools.train.experts import MoaShape
    from hydrad_tools.train.loop import Schedule
    from hydrad_tools.train.moa import MoaRun, train_moa
    corpora = [parse_corpus(text) for text in options.text]
    shape = MoaShape(options.rank, options.alpha, tuple(options.targets.split(",")),
                     tuple(corpus.name for corpus in corpora), options.pool, options.decision)
    stages = (Schedule(steps, options.rows, options.learning_rate)
              for steps in (options.stage_one_steps, options.steps))
    run = MoaRun(options.base, options.base_name or options.base.name, shape, *stages, options.length, options.seed,
                 options.threads, getattr(torch, options.base_dtype), options.eta, dict(options.expert),
                 options.windows)
    report = train_moa(options.directory, corpora, run)
    print(f"parameters: {report.parameters:,}")
    for name, losses in report.losses.items():
        print(f"{name}  " + "  ".join(f"{how} {loss:.3f}" for how, loss in losses.items()))
    print("router accuracy on held-out prompts: " + ", ".join(f"{k} {v:.3f}" for k, v in report.accuracy.items()))
    print("by layer: " + " ".join(f"{value:.2f}" for value in report.layer_accuracy))
    print(f"mutual information: {report.mutual_information:.3f} bits, best router {report.best_router:.3f}, "
          f"of at most {report.bound:.3f}")

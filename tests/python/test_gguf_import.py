"""The GGUF importer on a model that the test writes itself: weights, configuration, tokenizer, refusals."""

import json
import tempfile
import unittest
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, pre_tokenizers

from hydrad_tools.errors import ToolError
from hydrad_tools.gguf_import import import_gguf, unpermute_rope_rows
from hydrad_tools.safetensors_io import read_safetensors

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 64, 96, 4, 2, 16, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def permute_rope_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to the q and k weights of a Llama."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


class GgufImportTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file, self.target = Path(directory.name) / "model.gguf", Path(directory.name) / "model"
        self.weights = _weights()

    def write(self, architecture="llama", pre="smollm", rope_scaling=None, tensors=None, bos=False):
        """Writes the GGUF file, all weights as F32."""
        writer = gguf.GGUFWriter(self.file, architecture)
        writer.add_context_length(128)
        writer.add_embedding_length(HIDDEN)
        writer.add_block_count(LAYERS)
        writer.add_feed_forward_length(INNER)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(100000.0)
        if rope_scaling:
            writer.add_rope_scaling_type(rope_scaling)
        _add_tokenizer(writer, pre, bos)
        for name, values in (self.weights if tensors is None else tensors).items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def imported(self, name):
        return read_safetensors(self.target / "model.safetensors")[name]

    def test_weights_are_rounded_and_unpermuted(self):
        self.write()
        import_gguf(self.file, self.target)
        for layer in range(LAYERS):
            for kind, heads in (("q", HEADS), ("k", KV_HEADS)):
                tensor = self.imported(f"model.layers.{layer}.self_attn.{kind}_proj.weight")
                stored = self.weights[f"blk.{layer}.attn_{kind}.weight"]
                self.assertEqual(tensor.dtype, "BF16")
                np.testing.assert_allclose(permute_rope_rows(tensor.to_f32(), heads), stored, rtol=2 ** -8)
        down = self.imported("model.layers.1.mlp.down_proj.weight").to_f32()
        np.testing.assert_allclose(down, self.weights["blk.1.ffn_down.weight"], rtol=2 ** -8)

    def test_unpermuting_undoes_permuting(self):
        weight = np.arange(HEADS * HEAD_DIM * 3).reshape(HEADS * HEAD_DIM, 3)
        np.testing.assert_array_equal(unpermute_rope_rows(permute_rope_rows(weight, HEADS), HEADS), weight)

    def test_quantised_weights(self):
        self.write()
        plain = self.file.read_bytes()
        name = "blk.0.ffn_up.weight"
        quantised = gguf.quants.quantize(self.weights[name], gguf.GGMLQuantizationType.Q8_0)
        writer_tensors = dict(self.weights)
        del writer_tensors[name]
        self._write_with_q8(writer_tensors, name, quantised)
        self.assertLess(self.file.stat().st_size, len(plain))
        import_gguf(self.file, self.target)
        values = self.imported("model.layers.0.mlp.up_proj.weight").to_f32()
        np.testing.assert_allclose(values, self.weights[name], atol=0.05)

    def _write_with_q8(self, tensors, name, quantised):
        original = gguf.GGUFWriter.write_header_to_file

        def add_first(writer):
            writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            original(writer)

        gguf.GGUFWriter.write_header_to_file = add_first
        try:
            self.write(tensors=tensors)
        finally:
            gguf.GGUFWriter.write_header_to_file = original

    def test_configuration(self):
        self.write()
        import_gguf(self.file, self.target)
        config = json.loads((self.target / "config.json").read_text())
        expected = {"model_type": "llama", "hidden_size": HIDDEN, "num_key_value_heads": KV_HEADS,
                    "head_dim": HEAD_DIM, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
                    "tie_word_embeddings": True, "vocab_size": len(_tokens())}
        self.assertEqual({key: config[key] for key in expected}, expected)

    def test_output_weight_unties(self):
        self.write(tensors=self.weights | {"output.weight": self.weights["token_embd.weight"] * 2})
        import_gguf(self.file, self.target)
        self.assertFalse(json.loads((self.target / "config.json").read_text())["tie_word_embeddings"])
        self.assertEqual(self.imported("lm_head.weight").shape, (len(_tokens()), HIDDEN))

    def test_tokenizer(self):
        self.write()
        import_gguf(self.file, self.target)
        tokenizer = Tokenizer.from_file(str(self.target / "tokenizer.json"))
        encoded = tokenizer.encode("<|im_start|>hello 12")
        self.assertEqual(encoded.tokens, ["<|im_start|>", "he", "l", "l", "o", "Ġ", "1", "2"])
        self.assertEqual(tokenizer.decode(encoded.ids, skip_special_tokens=True), "hello 12")
        settings = json.loads((self.target / "tokenizer_config.json").read_text())
        self.assertEqual((settings["bos_token"], settings["eos_token"]), ("<|im_start|>", "<|im_end|>"))
        self.assertEqual(settings["chat_template"], "{{ messages }}")
        generation = json.loads((self.target / "generation_config.json").read_text())
        self.assertEqual(generation["eos_token_id"], [2, 0])

    def test_bos_is_put_first_if_the_file_asks(self):
        self.write(bos=True)
        import_gguf(self.file, self.target)
        tokenizer = Tokenizer.from_file(str(self.target / "tokenizer.json"))
        self.assertEqual(tokenizer.encode("he").tokens, ["<|im_start|>", "he"])

    def test_refusals_name_the_cause_and_leave_no_model(self):
        without_norm = {name: v for name, v in self.weights.items() if name != "output_norm.weight"}
        cases = {
            "general.architecture is 'gpt2'": {"architecture": "gpt2"},
            "tokenizer.ggml.pre is 'klingon'": {"pre": "klingon"},
            "rope.scaling.type is 'linear'": {"rope_scaling": gguf.RopeScalingType.LINEAR},
            "tensor rope_freqs.weight has no place": {"tensors": self.weights | {"rope_freqs.weight": np.ones(8, np.float32)}},
            "the first is model.norm.weight": {"tensors": without_norm},
        }
        for message, arguments in cases.items():
            self.write(**arguments)
            with self.subTest(message), self.assertRaisesRegex(ToolError, f"model.gguf.*{message}"):
                import_gguf(self.file, self.target)
            self.assertFalse((self.target / "config.json").exists())

    def test_no_gguf_at_all(self):
        with self.assertRaisesRegex(ToolError, "model.gguf"):
            import_gguf(self.file, self.target)
        self.file.write_bytes(b"not a model, but long enough to look at")
        with self.assertRaisesRegex(ToolError, "model.gguf"):
            import_gguf(self.file, self.target)


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {"token_embd.weight": (len(_tokens()), HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in {
            "attn_norm": (HIDDEN,), "attn_q": (q, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN),
            "attn_output": (HIDDEN, q), "ffn_norm": (HIDDEN,), "ffn_gate": (INNER, HIDDEN),
            "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER)}.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _tokens() -> list[str]:
    return SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["he"]


def _add_tokenizer(writer: gguf.GGUFWriter, pre: str, bos: bool) -> None:
    tokens = _tokens()
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(bos)
    writer.add_chat_template("{{ messages }}")


if __name__ == "__main__":
    unittest.main()

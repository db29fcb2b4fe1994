"""Reading, splitting and packing of training text, with a tokenizer of one id per character."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.train.corpora import (IGNORED, PROMPT_TOKENS, Corpus, Document, Mixture, PromptMixture, TokenStream,
                                        encode, encode_prompts, parse_corpus, read_documents)


class CharacterTokenizer:
    """Ids are code points; a chat turn is ``[role]content.``"""

    def encode(self, text, add_special_tokens):
        return [ord(c) for c in text]

    def apply_chat_template(self, turns, tokenize, add_generation_prompt=False):
        text = "".join(f"[{turn['role']}]{turn['content']}." for turn in turns)
        return text + ("[assistant]" if add_generation_prompt else "")


class ReadTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def write(self, name, text):
        (self.directory / name).write_text(text, encoding="utf-8")
        return self.directory / name

    def test_paragraphs(self):
        path = self.write("a.txt", "one\ntwo\n\n\nthree\n\n")
        self.assertEqual(read_documents(path), [Document("one\ntwo"), Document("three")])

    def test_records(self):
        cases = [({"question": "q", "answer": "a"}, Document("a", "q")),
                 ({"question": "q", "query": "SELECT 1;SELECT 2"}, Document("SELECT 1;", "q")),
                 ({"instruction": "i", "instances": [{"input": "", "output": "o"}]}, Document("o", "i")),
                 ({"prompt": "def f():", "canonical_solution": " pass"}, Document("def f(): pass")),
                 ({"text": "t"}, Document("t"))]
        path = self.write("a.jsonl", "\n".join(json.dumps(record) for record, _ in cases))
        self.assertEqual(read_documents(path), [document for _, document in cases])

    def test_csv(self):
        path = self.write("a.csv", 'question,query\n"how, many?",SELECT 1\n')
        self.assertEqual(read_documents(path), [Document("SELECT 1;", "how, many?")])

    def test_the_last_tenth_of_every_file_is_held_out(self):
        first = self.write("a.txt", "\n\n".join(f"a{i}" for i in range(20)))
        second = self.write("b.txt", "\n\n".join(f"b{i}" for i in range(10)))
        corpus = parse_corpus(f"both:2.5={first},{second}")
        self.assertEqual((corpus.name, corpus.weight), ("both", 2.5))
        self.assertEqual([d.reply for d in corpus.held_out], ["a18", "a19", "b9"])
        self.assertEqual(len(corpus.train), 27)

    def test_refusals(self):
        for message, argument in {"expected NAME": "no-equals", "No such file": "x=/nowhere/a.txt",
                                  "unknown kind": f"x={self.write('a.pdf', '')}",
                                  "none of the known": f"x={self.write('b.jsonl', '{}')}"}.items():
            with self.subTest(message), self.assertRaisesRegex(ToolError, message):
                parse_corpus(argument)


class PackTest(unittest.TestCase):
    def test_prompts_carry_no_loss(self):
        stream = encode(CharacterTokenizer(), [Document("42", "six by seven?"), Document("plain")])
        text = "".join(map(chr, stream.ids))
        self.assertEqual(text, "[user]six by seven?.[assistant]42.plain\n\n")
        learned = "".join(chr(i) for i, label in zip(stream.ids, stream.labels) if label != IGNORED)
        self.assertEqual(learned, "42.plain\n\n")

    def test_windows_do_not_overlap(self):
        stream = TokenStream(np.arange(10), np.arange(10))
        self.assertEqual(stream.windows(3, limit=9)[0].tolist(), [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
        self.assertEqual(stream.windows(3, limit=1)[0].tolist(), [[0, 1, 2]])

    def test_mixture_is_deterministic_and_follows_the_weights(self):
        corpora = [Corpus("a", 3, [], []), Corpus("b", 1, [], [])]
        streams = [TokenStream(np.arange(50), np.arange(50)), TokenStream(np.arange(50) + 100, np.arange(50) + 100)]
        first, second = (Mixture(corpora, streams, 5, seed=7).batch(400) for _ in range(2))
        for a, b in zip(first, second):
            np.testing.assert_array_equal(a, b)
        ids, _, domains = first
        self.assertAlmostEqual(np.mean(domains == 0), 0.75, delta=0.06)
        np.testing.assert_array_equal((ids >= 100).all(axis=1), domains == 1)

    def test_prompts_end_where_the_assistant_begins(self):
        documents = [Document("42", "six by seven?"), Document("plain " * 50), Document("x", "y" * PROMPT_TOKENS),
                     Document("short"), Document("x"), Document("")]
        chat, plain, short = encode_prompts(CharacterTokenizer(), documents, np.random.default_rng(1))
        self.assertEqual("".join(map(chr, chat)), "[user]six by seven?.[assistant]")
        self.assertTrue(("plain " * 50).startswith("".join(map(chr, plain))))
        self.assertTrue(8 <= len(plain) <= 64)
        self.assertEqual("".join(map(chr, short)), "shor")

    def test_prompts_are_drawn_by_weight_and_filled_up(self):
        corpora = [Corpus("a", 3, [], []), Corpus("b", 1, [], [])]
        prompts = [[np.array([1, 2, 3])], [np.array([7])]]
        ids, lengths, domains = PromptMixture(corpora, prompts, seed=3).batch(200)
        self.assertAlmostEqual(np.mean(domains == 0), 0.75, delta=0.1)
        np.testing.assert_array_equal(ids[domains == 0], [[1, 2, 3]] * (domains == 0).sum())
        np.testing.assert_array_equal(ids[domains == 1], [[7, 0, 0]] * (domains == 1).sum())
        np.testing.assert_array_equal(lengths, np.where(domains == 0, 3, 1))
        with self.assertRaisesRegex(ToolError, "text b: no prompt"):
            PromptMixture(corpora, [prompts[0], []], seed=3)

    def test_too_little_text(self):
        with self.assertRaisesRegex(ToolError, "text a: 3 tokens"):
            Mixture([Corpus("a", 1, [], [])], [TokenStream(np.arange(3), np.arange(3))], 5, seed=1)


if __name__ == "__main__":
    unittest.main()

"""How many heads a HydraLoRA gets: TF-IDF, k-means and the elbow."""

import unittest

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.train.clusters import elbow, k_means, pick_heads, tf_idf
from hydrad_tools.train.corpora import Corpus, Document


def corpus(name, words, weight=1.0):
    """Eighty documents of twelve words each, drawn from ``words``."""
    rng = np.random.default_rng(len(words))
    return Corpus(name, weight, [Document(" ".join(rng.choice(words, 12))) for _ in range(80)], [])


class ClustersTest(unittest.TestCase):
    def test_tf_idf_by_hand(self):
        rows = tf_idf(["a a b", "b", "B!"])  # words by how many documents have them: b 3, then "!" and a, 1 each
        rare = np.log(4 / 2) + 1
        expected = np.array([[1, 0, 2 * rare], [1, 0, 0], [1, rare, 0]])
        np.testing.assert_allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True))

    def test_k_means_finds_what_is_there(self):
        rng = np.random.default_rng(1)
        centres = np.array([[0, 0], [9, 0], [0, 9.0]])
        points = np.concatenate([centre + rng.normal(size=(50, 2)) * 0.1 for centre in centres])
        best = sum(((points[i:i + 50] - points[i:i + 50].mean(axis=0)) ** 2).sum() for i in (0, 50, 100))
        found = min(k_means(points, 3, rng) for _ in range(4))
        self.assertAlmostEqual(found, best, delta=1e-9)
        self.assertAlmostEqual(k_means(points, 1, rng), ((points - points.mean(axis=0)) ** 2).sum(), delta=1e-9)

    def test_k_means_of_equal_points(self):
        self.assertEqual(k_means(np.ones((5, 2)), 3, np.random.default_rng(1)), 0)

    def test_elbow(self):
        cases = {(100, 50, 10, 8, 7, 6): 3, (100, 20, 15, 11, 8, 5): 2, (100, 80, 60, 40, 20, 18, 17): 5,
                 (4, 3, 2, 1): 2}
        for distances, k in cases.items():
            with self.subTest(distances):
                self.assertEqual(elbow(distances), k)

    def test_heads_follow_the_domains(self):
        words = {"verse": ["thou", "art", "king", "love", "night"], "sql": ["select", "from", "where", "join", "count"],
                 "sums": ["add", "apples", "sum", "total", "minus"], "code": ["def", "return", "for", "import", "list"],
                 "news": ["election", "market", "storm", "city", "report"]}
        corpora = [corpus(name, list(part)) for name, part in words.items()]
        for count in (3, 4, 5):
            self.assertEqual(pick_heads(corpora[:count], seed=1).heads, count)
        first, second = (pick_heads(corpora, seed=2) for _ in range(2))
        self.assertEqual(first, second)
        self.assertEqual(len(first.distances), 10)

    def test_too_few_documents(self):
        with self.assertRaisesRegex(ToolError, "3 documents are too few"):
            pick_heads([Corpus("a", 1, [Document("x")] * 3, [])], seed=1)


if __name__ == "__main__":
    unittest.main()

"""The Grafana dashboard is well formed: what Grafana would take silently and draw wrongly."""
import itertools
import re
import unittest

import dashboard as d


class DashboardTest(unittest.TestCase):

    def setUp(self):
        self.dashboard = d.load()
        self.panels = list(d.panels(self.dashboard))
        self.variables = {v['name'] for v in self.dashboard['templating']['list']}

    def test_ids_are_unique(self):
        ids = [p['id'] for p in self.dashboard['panels']]
        self.assertEqual(len(ids), len(set(ids)))
        titles = [p['title'] for p in self.dashboard['panels']]
        self.assertEqual(len(titles), len(set(titles)))

    def test_panels_lie_on_the_grid_without_overlap(self):
        boxes = [p['gridPos'] for p in self.dashboard['panels']]
        for box in boxes:
            self.assertGreaterEqual(box['x'], 0)
            self.assertLessEqual(box['x'] + box['w'], 24)
        for a, b in itertools.combinations(boxes, 2):
            apart = (a['x'] + a['w'] <= b['x'] or b['x'] + b['w'] <= a['x'] or
                     a['y'] + a['h'] <= b['y'] or b['y'] + b['h'] <= a['y'])
            self.assertTrue(apart, f'{a} overlaps {b}')

    def test_panels_say_what_they_show(self):
        for panel in self.panels:
            with self.subTest(panel['title']):
                self.assertTrue(panel['description'])
                self.assertTrue(panel['fieldConfig']['defaults']['unit'])
                self.assertTrue(panel['targets'])

    def test_queries_use_known_variables_and_the_chosen_source(self):
        builtin = {'__rate_interval'}
        for panel in self.panels:
            for target in panel['targets']:
                with self.subTest(target['expr']):
                    used = set(re.findall(r'\$\{?(\w+)', target['expr']))
                    self.assertLessEqual(used, self.variables | builtin)
                    self.assertIn('instance=~"$instance"', target['expr'])
                    self.assertEqual(target['datasource']['uid'], '${datasource}')

    def test_a_row_repeats_for_each_adapter(self):
        rows = [p for p in self.dashboard['panels'] if p.get('repeat') == 'adapter']
        self.assertEqual(len(rows), 1)
        adapter = next(v for v in self.dashboard['templating']['list'] if v['name'] == 'adapter')
        self.assertTrue(adapter['multi'] and adapter['includeAll'])
        # Grafana escapes the values of such a variable for a regular expression.
        for panel in self.panels:
            for target in panel['targets']:
                self.assertNotIn('adapter="$adapter"', target['expr'])


if __name__ == '__main__':
    unittest.main()

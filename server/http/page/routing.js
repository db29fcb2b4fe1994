// How an answer was routed: the map of layers and heads, and the colours of its tokens.

import { $, headMarks, make } from './dom.js';

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const shown = (weight) => weight.toFixed(2);

/**
 * What there is to draw of an answer's `hydrad` object, or null: {adapter, names, layers, projections, top, unit, weights}.
 * `weights(projection)` gives [heads][layers], of all projections for ''; `names` are the experts' in the adapter's order.
 */
export function readRouting(own, names = []) {
  const routing = own?.routing?.find((each) => each.routers.length > 0);
  if (routing) return ofRouters(routing, names);
  return own?.route?.votes?.length || own?.route?.expert ? ofRoute(own.route, own.adapter, names) : null;
}

function ofRouters({ adapter, routers, choices }, names) {
  const layers = [...new Set(routers.map((router) => router.layer))].sort((a, b) => a - b);
  const heads = Math.max(...routers.map((router) => router.mean.length));
  const weights = (projection) => Array.from({ length: heads }, (_, head) => layers.map((layer) => {
    const all = routers.filter((router) => router.layer === layer && head < router.mean.length &&
                                           (projection === '' || router.projection === projection));
    return all.length ? mean(all.map((router) => router.mean[head])) : NaN;
  }));
  return {
    adapter, layers, weights, unit: 'head', top: choices[0]?.top ?? [],
    names: Array.from({ length: heads }, (_, head) => names[head] ?? `head ${head}`),
    projections: [...new Set(routers.map((router) => router.projection))],
  };
}

// One expert was picked for the whole answer, or one in each layer.
function ofRoute({ expert, votes = [] }, adapter, known) {
  const names = known.length ? known : [...new Set([...votes, expert].filter(Boolean))];
  return {
    adapter, names, unit: 'expert', projections: [], layers: votes.map((_, layer) => layer),
    weights: () => names.map((name) => votes.map((vote) => (vote === name ? 1 : 0))),
    top: null, one: expert ? names.indexOf(expert) : -1,
  };
}

/** The head that weighed most where token `number` was drawn; -1: none is known. */
export const headOf = (routing, number) => (routing.top ? routing.top[number] ?? -1 : routing.one);

/** Puts the coloured tokens of `parts` (tokens.js) into `element`. */
export function colour(element, parts, routing) {
  let last = -1;
  element.replaceChildren(...parts.map(({ text, token }) => {
    const head = token < 0 ? -1 : headOf(routing, token);
    const first = head !== last;
    last = head;
    if (head < 0) return document.createTextNode(text);
    return make('span', {
      class: 'token', ...headMarks(head), 'data-first': first, title: `token ${token}: most by ${routing.names[head]}`,
    }, text);
  }));
}

/** Draws the map of `routing` into the panel; `answer` is the element whose tokens light up by head. */
export function drawRouting(routing, answer) {
  const panel = $('routing');
  let lit = -1;
  const light = (head) => {
    lit = head === lit ? -1 : head;
    for (const button of panel.querySelectorAll('.map button')) {
      button.setAttribute('aria-pressed', String(Number(button.dataset.head) === lit));
    }
    for (const token of answer.querySelectorAll('.token')) {
      token.classList.toggle('dimmed', lit >= 0 && Number(token.dataset.head) !== lit);
    }
  };
  const choice = make('select', { 'aria-label': 'Projection', onchange: () => draw() },
                      make('option', { value: '' }, 'all projections'),
                      ...routing.projections.map((name) => make('option', {}, name)));
  const numbers = make('input', { type: 'checkbox', onchange: (event) => {
    $('log').classList.toggle('numbers', event.target.checked);
  } });
  numbers.checked = $('log').classList.contains('numbers');
  const scale = make('span');
  const table = make('table', { class: 'map' });
  function draw() {
    const weights = routing.weights(choice.value);
    const known = weights.flat().filter((weight) => !Number.isNaN(weight));
    const low = Math.min(...known, 1), high = Math.max(...known, 0);
    scale.textContent = known.length ? `pale ${shown(low)} – full ${shown(high)}` : '';
    table.replaceChildren(caption(routing), headRow(routing.layers), bodyRows(routing, weights, low, high, light));
    lit = -1;
  }
  draw();
  panel.replaceChildren(
    table,
    make('div', { class: 'under' }, routing.projections.length ? choice : null, scale,
         make('label', {}, numbers, ' numbers in the text')));
  for (const token of document.querySelectorAll('.dimmed')) token.classList.remove('dimmed');
}

const caption = ({ adapter, unit }) => make('caption', {},
  unit === 'head' ? `${adapter}: mean weight of each head, by layer` : `${adapter}: the expert that each layer votes for`);

function headRow(layers) {
  const every = Math.max(1, Math.ceil(layers.length / 6));
  return make('thead', {}, make('tr', {},
    make('th', { class: 'name', scope: 'col' }, 'layer'),
    ...layers.map((layer, i) => make('th', { scope: 'col' }, i % every === 0 ? String(layer) : '')),
    make('th', { class: 'sum', scope: 'col' }, 'tokens')));
}

function bodyRows({ names, layers, top, one, unit }, weights, low, high, light) {
  return make('tbody', {}, ...names.map((name, head) => {
    const share = top ? top.filter((each) => each === head).length / Math.max(1, top.length) : Number(head === one);
    const cells = layers.map((layer, i) => {
      const weight = weights[head][i];
      if (Number.isNaN(weight)) return make('td');
      const text = `layer ${layer}, ${name}: ${shown(weight)}`;
      const cell = make('td', { class: 'cell', ...headMarks(head), title: text }, make('span', { class: 'hidden' }, shown(weight)));
      cell.style.setProperty('--w', high > low ? (weight - low) / (high - low) : 1);
      return cell;
    });
    const button = make('button', {
      type: 'button', 'aria-pressed': 'false', ...headMarks(head), onclick: () => light(head),
      title: `Light up the tokens of ${unit} ${name}`,
    }, name);
    return make('tr', {}, make('th', { scope: 'row' }, button), ...cells,
                make('td', { class: 'sum' }, `${Math.round(share * 100)} %`));
  }));
}

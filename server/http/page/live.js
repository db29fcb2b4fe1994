// The panels that show how things stand: asked for every second while somebody looks.

import { $, make } from './dom.js';
import { getJson } from './api.js';

const SECOND = 1000, SAMPLES = 60, MANY = 200, SHOWN = 60;
const TIERS = { device: 'on the device', host: 'in memory', disk: 'on the disk' };
const rates = [];
let last = null, timer = 0, drawn = '';

/** Asks now and again and again. `told` gets every status, `failed` what stands against it, which ends the asking. */
export async function watch(told, failed) {
  clearTimeout(timer);
  let wait = SECOND;
  try {
    const status = await getJson('/hydrad/status');
    figures(status);
    told(status);
    if (status.models.length > MANY) wait = 5 * SECOND;
  } catch (error) {
    $('totals').textContent = error.message;
    if (error.status === 401) return failed(error);
    wait = 3 * SECOND;
  }
  if (document.hidden) wait = 10 * SECOND;
  clearTimeout(timer);
  timer = setTimeout(watch, wait, told, failed);
}

function figures(status) {
  const now = performance.now();
  const rate = last ? Math.max(0, (status.generated_tokens - last.tokens) / (now - last.time)) * SECOND : 0;
  last = { tokens: status.generated_tokens, time: now };
  rates.push(rate);
  if (rates.length > SAMPLES) rates.shift();
  $('running').textContent = status.requests.running;
  $('waiting').textContent = status.requests.waiting;
  $('rate').textContent = rate.toFixed(rate > 0 && rate < 10 ? 1 : 0);
  const points = rates.map((each, i) => `${SAMPLES - rates.length + i},${20 - 19 * each / Math.max(...rates, 1)}`);
  $('spark').firstElementChild.setAttribute('points', `${SAMPLES - rates.length},20 ${points.join(' ')} 59,20`);
  const cache = status.cache_blocks;
  $('totals').textContent = [
    status.tenant === null ? 'everybody' : `tenant ${status.tenant}`,
    `${status.requests.ended} ended`, `${status.generated_tokens} tokens`,
    cache && `cache ${Math.round(100 * (1 - cache.free / cache.total))} % used`,
  ].filter(Boolean).join(' · ');
}

/** The adapters by tier; `chosen` is the one in use, `pick` takes the name of another. Whoever is on one of them stays there. */
export function drawTiers(models, chosen, pick) {
  const now = JSON.stringify([models, chosen]);
  if (now === drawn) return;
  drawn = now;
  const on = $('tiers').contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const adapters = models.filter((model) => !model.base);
  $('tiers').replaceChildren(...Object.entries(TIERS).map(([tier, where]) => {
    const here = adapters.filter((adapter) => adapter.tier === tier);
    if (here.length === 0) return '';
    const more = here.length > SHOWN ? make('li', { class: 'small' }, `and ${here.length - SHOWN} more`) : '';
    return make('div', { class: 'tier' }, make('h3', {}, `${where}: ${here.length}`),
                make('ul', {}, ...here.slice(0, SHOWN).map((adapter) => make('li', {}, chip(adapter, chosen, pick))), more));
  }));
  if (adapters.length === 0) $('tiers').append(make('p', { class: 'small' }, 'None is loaded that may be used here.'));
  [...$('tiers').querySelectorAll('button')].find((button) => button.dataset.name === on)?.focus();
}

function chip({ name, family, experts, requests, generation }, chosen, pick) {
  return make('button', {
    type: 'button', 'data-name': name, class: requests > 0 ? 'active' : undefined, 'aria-current': name === chosen ? 'true' : undefined,
    title: `generation ${generation}, ${requests} requests on it now`, onclick: () => pick(name),
  }, `${name} `, make('small', {}, experts > 1 ? `${family} · ${experts}` : family));
}

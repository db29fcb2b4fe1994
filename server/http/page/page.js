// The chat, and what holds the page together.

import { events, key } from './api.js';
import { $, make } from './dom.js';
import { drawTiers, watch } from './live.js';
import { colour, drawRouting, readRouting } from './routing.js';
import { align, bytesOf } from './tokens.js';

const SEVERAL = '\n'; // the choice of several adapters: no name has a line break
const EXAMPLES = ['What is gravity?', 'How do I count the users of a table?', 'Write a Python function that adds two numbers.',
                  'ROMEO: What light is this'];
let models = []; // as /hydrad/status tells of them
let history = []; // of the conversation: {role, content}
let running = null; // the AbortController of the answer that is being written

const modelOf = (name) => models.find((model) => model.name === name);
const baseName = () => models.find((model) => model.base)?.name ?? '';
const label = ({ name, base, family, experts }) =>
  `${name} — ${base ? 'the base model' : family}${experts > 1 ? `, ${experts} experts` : ''}`;

// The choices.

function told(status) {
  const names = JSON.stringify(status.models.map((model) => [model.name, model.generation]));
  const changed = names !== told.names;
  told.names = names;
  models = status.models;
  if (changed) {
    const chosen = $('adapter').value;
    options($('adapter'), [...models.map((model) => [model.name, label(model)]), [SEVERAL, 'several, each with a weight …']], chosen);
    $('serves').textContent = `${baseName()} and ${models.filter((model) => !model.base).length} adapters`;
    for (const select of document.querySelectorAll('.term select')) fillTerm(select);
    fit();
  }
  drawTiers(models, $('adapter').value, pick);
}

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, text]) => make('option', { value }, text)));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}

function pick(name) {
  $('adapter').value = name;
  fit();
  $('prompt').focus();
}

/** Shows the fields that the chosen adapter has. */
function fit() {
  const name = $('adapter').value, model = modelOf(name);
  const picks = model?.expert_names?.length > 0;
  const heads = name !== SEVERAL && !picks ? model?.experts ?? 1 : 1;
  $('expert-field').hidden = !picks;
  if (picks) options($('expert'), [['', 'as its routers decide'], ...model.expert_names.map((each) => [each, each])], $('expert').value);
  $('heads-field').hidden = heads < 2;
  options($('heads'), [['', 'all'], ...Array.from({ length: Math.max(0, heads - 1) }, (_, i) => [String(i + 1), String(i + 1)])], $('heads').value);
  $('mix').hidden = name !== SEVERAL;
  if (name === SEVERAL && $('terms').childElementCount === 0) [0, 1].forEach(addTerm);
  const chats = name === SEVERAL ? modelOf(baseName())?.chat : model?.chat;
  $('mode').options[0].disabled = !chats;
  if (!chats) $('mode').value = 'text';
  $('prompt').placeholder = $('mode').value === 'chat' ? 'Ask something' : 'Begin a text, which the model goes on with';
  drawTiers(models, name, pick);
}

function fillTerm(select) {
  const usable = models.filter((model) => !model.base && !model.expert_names);
  options(select, usable.map((model) => [model.name, model.name]), select.value);
}

function addTerm() {
  const select = make('select', { 'aria-label': 'Adapter' });
  fillTerm(select);
  select.selectedIndex = Math.min($('terms').childElementCount, select.options.length - 1);
  const value = make('output', {}, '0.50');
  const slider = make('input', {
    type: 'range', min: '-1', max: '2', step: '0.05', value: '0.5', 'aria-label': 'Weight',
    oninput: () => { value.textContent = Number(slider.value).toFixed(2); },
  });
  const row = make('div', { class: 'term' }, select, slider, value,
                   make('button', { type: 'button', 'aria-label': 'Remove this adapter', onclick: () => row.remove() }, '×'));
  $('terms').append(row);
}

function terms() {
  return [...document.querySelectorAll('.term')].map((row) => ({
    name: row.querySelector('select').value, weight: Number(row.querySelector('input').value),
  }));
}

// A question and its answer.

/** The path and the body of a request for what the choices say. */
function request(prompt) {
  const name = $('adapter').value, hydrad = { routing: true };
  const body = {
    model: name === SEVERAL ? baseName() : name, stream: true, stream_options: { include_usage: true }, hydrad,
    temperature: Number($('temperature').value), max_tokens: Number($('tokens').value),
  };
  if (name === SEVERAL) hydrad.adapters = terms();
  if (!$('expert-field').hidden && $('expert').value) hydrad.expert = $('expert').value;
  if (!$('heads-field').hidden && $('heads').value) hydrad.adapter_top_k = Number($('heads').value);
  if ($('mode').value === 'text') return ['/v1/completions', { ...body, prompt, logprobs: 0 }];
  return ['/v1/chat/completions', { ...body, messages: [...history, { role: 'user', content: prompt }], logprobs: true }];
}

function turn(kind, who) {
  $('log').querySelector('.welcome')?.remove();
  const text = make('div', { class: 'text' });
  const element = make('article', { class: `turn ${kind}` }, make('div', { class: 'who' }, who), text);
  $('log').append(element);
  return { element, text };
}

const whose = () => ($('adapter').value === SEVERAL
  ? terms().map(({ name, weight }) => `${weight.toFixed(2)} × ${name}`).join(' + ') : $('adapter').value);

/** What has come of an answer, and where it is shown. */
class Writing {
  constructor({ element, text }) {
    this.element = element;
    this.text = text;
    this.tokens = []; // the bytes of each
    this.parts = []; // {thought, text}, in the order in which they came
    this.usage = this.own = null;
  }

  add(event) {
    this.usage ??= event.usage;
    this.own ??= event.hydrad;
    const choice = event.choices[0];
    if (!choice) return;
    for (const token of choice.logprobs?.content ?? []) this.tokens.push(token.bytes);
    for (const token of choice.logprobs?.tokens ?? []) this.tokens.push(bytesOf(token));
    this.say(choice.delta?.reasoning_content, true);
    this.say(choice.delta?.content ?? choice.text, false);
  }

  say(text, thought) {
    if (!text) return;
    if (this.parts.at(-1)?.thought !== thought) {
      this.parts.push({ thought, text: '', place: make('span', { class: thought ? 'thought' : undefined }) });
      this.text.append(this.parts.at(-1).place);
    }
    const log = $('log'), atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    this.parts.at(-1).text += text;
    this.parts.at(-1).place.append(text);
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  content() {
    return this.parts.filter((part) => !part.thought).map((part) => part.text).join('');
  }

  /** Colours the tokens, once it is known which head each is by. */
  colour(routing) {
    let done = 0;
    for (const part of this.parts) {
      const here = align(part.text, this.tokens.slice(done)).map(({ text, token }) => ({ text, token: token < 0 ? -1 : token + done }));
      colour(part.place, here, routing);
      done = Math.max(done, ...here.map(({ token }) => token + 1));
    }
  }

  finish(started, first) {
    const { usage, own } = this;
    const meta = make('div', { class: 'meta' });
    const say = (text) => meta.append(make('span', {}, text));
    if (usage) {
      const decode = own?.decode_seconds ?? 0;
      say(`${usage.completion_tokens} tokens`);
      if (decode > 0 && usage.completion_tokens > 1) say(`${((usage.completion_tokens - 1) / decode).toFixed(0)} tokens/s`);
      if (first) say(`first after ${(first - started).toFixed(0)} ms`);
    }
    if (own?.route?.expert) say(`expert ${own.route.expert}`);
    if (own?.approximate) say('approximate: not all of the heads it was trained with');
    const routing = readRouting(own, modelOf(own?.adapter)?.expert_names);
    if (routing) {
      this.colour(routing);
      const show = () => drawRouting(routing, this.element);
      show();
      meta.append(make('button', { type: 'button', onclick: show }, 'show its routing'));
    }
    this.element.append(meta);
    $('log').scrollTop = $('log').scrollHeight;
  }
}

async function send(prompt) {
  const conversation = history, chat = $('mode').value === 'chat', [path, body] = request(prompt);
  turn('you', chat ? 'you' : 'prompt').text.textContent = prompt;
  const place = turn('answer busy', whose()), writing = new Writing(place);
  const started = performance.now();
  let first = 0;
  busy(new AbortController());
  try {
    for await (const event of events(path, body, running.signal)) {
      writing.add(event);
      if (!first && writing.parts.length) first = performance.now();
    }
    writing.finish(started, first);
  } catch (error) {
    const stopped = error.name === 'AbortError';
    place.element.append(make('div', { class: stopped ? 'meta' : 'meta error' }, stopped ? 'stopped' : error.message));
    if (error.status === 401) askKey(error.message);
  }
  if (chat && writing.content()) conversation.push({ role: 'user', content: prompt }, { role: 'assistant', content: writing.content() });
  place.element.classList.remove('busy');
  busy(null);
}

/** While an answer is written (`controller` ends it), screen readers wait for the whole of it. */
function busy(controller) {
  running = controller;
  $('log').setAttribute('aria-busy', String(controller !== null));
  $('send').disabled = controller !== null;
  $('stop').hidden = controller === null;
}

function submit(event) {
  event.preventDefault();
  const prompt = $('prompt').value;
  if (running || prompt.trim() === '' || models.length === 0) return;
  $('prompt').value = '';
  send(prompt);
}

function clear() {
  running?.abort();
  history = [];
  const fill = (text) => () => {
    $('prompt').value = text;
    $('prompt').focus();
  };
  $('log').replaceChildren(make('div', { class: 'welcome' },
    make('strong', {}, 'One model, many heads'),
    make('p', {}, 'Choose an adapter, ask, and see which of its heads wrote which word.'),
    make('div', { class: 'chips' }, ...EXAMPLES.map((text) => make('button', { type: 'button', onclick: fill(text) }, text)))));
}

// The key.

function askKey(why) {
  $('key-why').textContent = why ?? 'This daemon knows its callers by their keys.';
  $('key-text').value = '';
  if (!$('ask-key').open) $('ask-key').showModal();
}

function useKey(event) {
  event.preventDefault();
  key.set($('key-text').value.trim());
  $('ask-key').close();
  look();
}

const look = () => watch(told, () => askKey(key.get() ? 'This key is not known here.' : undefined));

// Light and dark.

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  const dark = name ? name === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  $('theme').textContent = dark ? 'Light' : 'Dark'; // what it turns to
}

function turnTheme() {
  const name = $('theme').textContent.toLowerCase();
  localStorage.setItem('hydrad-theme', name);
  theme(name);
}

$('adapter').addEventListener('change', fit);
$('mode').addEventListener('change', fit);
$('add-term').addEventListener('click', addTerm);
$('clear').addEventListener('click', clear);
$('stop').addEventListener('click', () => running?.abort());
$('ask').addEventListener('submit', submit);
$('prompt').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('ask').requestSubmit();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
});
document.addEventListener('visibilitychange', () => document.hidden || $('ask-key').open || look());
$('key').addEventListener('click', () => askKey());
$('key-form').addEventListener('submit', useKey);
$('key-cancel').addEventListener('click', () => $('ask-key').close());
$('theme').addEventListener('click', turnTheme);
theme(localStorage.getItem('hydrad-theme'));
clear();
look();

// Elements. Text goes in as text only: nothing that a model writes is ever read as HTML.

export const $ = (id) => document.getElementById(id);

/** make('p', {class: 'x', onclick: f}, 'text', child, ...) */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Colours are eight; what comes after them has another pattern. */
export const headMarks = (head) => ({ 'data-head': head, 'data-tone': head % 8, 'data-round': head >= 8 });

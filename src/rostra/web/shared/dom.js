// The little that both pages need to make and change elements.

import { label, say } from './words.js';

export const $ = (id) => document.getElementById(id);

/**
 * An element. `t` is what it says (a key, or [key, params]), `label` its name for those who do not see it, `on` its
 * listeners, `class` its classes; anything else is a property.
 */
export function h(tag, { t, label: name, on = {}, class: classes, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  Object.assign(element, properties);
  for (const [event, act] of Object.entries(on)) element.addEventListener(event, act);
  if (t) say(element, ...[t].flat());
  if (name) label(element, name);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Show or hide, touching the page only when that changes: a screen reader hears every touch. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Text that is data (a name, a title), set only when it differs. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const region = $('announcer');
let announced = '';

/** Tell a screen reader, politely; the same sentence is not said twice in a row. */
export function announce(text) {
  if (!region || text === announced) return;
  announced = text;
  region.textContent = text;
}

/** An icon from the page's own sprite; decorative, its button carries the name. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `/static/shared/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** Put another icon where one is. */
export function swapIcon(button, name) {
  const href = `/static/shared/icons.svg#${name}`;
  const use = button.querySelector('use');
  if (use.getAttribute('href') !== href) use.setAttribute('href', href);
}

// Links to share. The studio tells a link once, when it is made: this tab remembers those it made, to copy them again.

import { $, announce, h, put } from '/static/shared/dom.js';
import { say, t } from '/static/shared/words.js';
import { testAddress } from './checks.js';
import { button, choice, field } from './fields.js';
import { attempt } from './notice.js';
import { ROLE } from './rights.js';

const store = (space) => `rostra.links.${space}`;

function kept(space) {
  try {
    return JSON.parse(sessionStorage.getItem(store(space)) ?? '{}');
  } catch {
    return {};
  }
}

/** Remember a link that was just made: {role, url}. */
export function keep(space, id, link) {
  try {
    sessionStorage.setItem(store(space), JSON.stringify({ ...kept(space), [id]: link }));
  } catch {
    // Storage may be forbidden; the link can be copied while the page is open.
  }
}

/** A read-only address with a button that copies it. */
export function copyable(url, name) {
  const input = h('input', { type: 'text', readOnly: true, value: url, dir: 'ltr', label: name });
  const copy = h('button', { type: 'button', t: 'links.copy', on: { click: take } });
  input.addEventListener('focus', () => input.select());
  async function take() {
    input.select();
    // The clipboard is for secure pages; elsewhere the text is selected, which is half the way.
    await navigator.clipboard?.writeText(url).catch(() => {});
    say(copy, 'links.copied');
    announce(t('links.copied'));
    setTimeout(() => say(copy, 'links.copy'), 2500);
  }
  return h('div', { class: 'copyable' }, input, copy);
}

/** The panel of a room; `tests` knows how each guest's test went. */
export function links(api, space, tests) {
  const list = h('ul', { class: 'links' });
  const fresh = h('div', { class: 'fresh' });
  const role = choice([['speaker', 'role.speaker'], ['cohost', 'role.cohost'], ['host', 'role.host']], 'speaker');
  const name = h('input', { type: 'text', maxLength: 60, autocomplete: 'off' });
  const form = h('form', { class: 'form row' },
    field('links.role', role), field('links.label', name), h('button', { type: 'submit', t: 'links.make' }));
  const panel = h('section', { class: 'panel' }, h('h2', { t: 'links.title' }), h('p', { class: 'soft', t: 'links.help' }), fresh, form, list);

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const made = await attempt(() => api.giveLink(space, role.value, name.value.trim()));
    if (!made) return;
    keep(space, made.id, { role: made.role, url: made.url, label: made.label });
    name.value = '';
    refresh();
    announce(t('links.made'));
  });

  async function refresh() {
    const known = kept(space);
    const told = (await api.links(space).catch(() => ({ links: [] }))).links;
    const gone = new Set(told.filter((link) => link.revoked).map((link) => link.id));
    const urls = Object.entries(known).filter(([id]) => !gone.has(id)).map(([, link]) => link);
    fresh.replaceChildren(...urls.map((link) => h('div', { class: 'field' }, heading(link), copyable(link.url, ROLE[link.role]), invitation(link))));
    list.replaceChildren(...told.filter((link) => !link.revoked).map((link) => row(link)));
  }

  const heading = (link) => h('span', { class: 'field-name' }, h('span', { t: ROLE[link.role] }), link.label ? h('bdi', { textContent: ` ${link.label}` }) : null);

  const invitation = (link) => h('details', {}, h('summary', { t: 'check.invite' }), h('div', { class: 'field' },
    copyable(testAddress(link.url), 'check.invite'), h('span', { class: 'help', t: 'check.invite.help' })));

  function row(link) {
    const take = button('links.revoke', 'revoke', async () => {
      if (await attempt(() => api.revokeLink(space, link.id))) refresh();
    }, { class: 'quiet' });
    return h('li', {}, h('span', { t: ROLE[link.role] }), h('span', { class: 'links-who' }, h('bdi', { class: 'soft', textContent: link.label }), tests.row(link.id)), take);
  }

  refresh();
  return panel;
}

/** The audience's address, for everyone. */
export function audience(url) {
  const element = h('section', { class: 'panel' }, h('h2', { t: 'links.audience' }), h('p', { class: 'soft', t: 'links.audience.help' }), copyable(url, 'links.audience'));
  return { element, put: (to) => { const input = element.querySelector('input'); if (input.value !== to) input.value = to; } };
}

// The studio: reads the link, asks who it makes us, and shows the list of Spaces (owner) or a room.

import { $, h, show } from '/static/shared/dom.js';
import { languageSwitch, useLanguage } from '/static/shared/words.js';
import { Api, Problem } from './api.js';
import { complain } from './notice.js';
import { owner } from './owner.js';
import { room } from './room.js';

/** The token stays in the fragment, which browsers never send, so that a reload and a bookmark work. */
function token() {
  const given = location.hash.slice(1);
  if (given) remember('rostra.token', given);
  return given || recall('rostra.token');
}

/** One key a tab: reload and reconnection take the same seat, a second tab another. */
function seatKey() {
  const kept = recall('rostra.seat');
  if (kept) return kept;
  const random = crypto.getRandomValues(new Uint8Array(8));
  const key = Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
  remember('rostra.seat', key);
  return key;
}

function recall(name) {
  try {
    return sessionStorage.getItem(name) ?? '';
  } catch {
    return ''; // Storage may be forbidden; then the address alone carries the link.
  }
}

function remember(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // As above.
  }
}

async function whoAmI(api) {
  for (;;) {
    try {
      return await api.me();
    } catch (error) {
      if (!(error instanceof Problem) || !error.away) throw error;
      complain(error);
      await new Promise((resolve) => setTimeout(resolve, 1000 + Math.random() * 1000));
      show($('problem'), false);
    }
  }
}

function locked(main) {
  main.replaceChildren(
    h('section', { class: 'plain' }, h('h1', { t: 'locked.title' }), h('p', { t: 'locked.text', class: 'soft' })),
  );
}

async function start() {
  const main = $('main');
  const link = token();
  if (!link) return locked(main);
  const api = new Api(link, seatKey());
  let me;
  try {
    me = await whoAmI(api);
  } catch (error) {
    locked(main);
    return complain(error);
  }
  $('home').href = me.owner ? `/#${link}` : location.href;
  const asked = new URLSearchParams(location.search);
  const space = me.space || asked.get('space');
  if (space && asked.has('check')) {
    const { check } = await import('/static/check/check.js');
    return check(main, api, me, space);
  }
  return space ? room(main, api, me, space) : owner(main, api, link);
}

// Another link pasted into this tab is another person: begin anew.
addEventListener('hashchange', () => location.reload());

await useLanguage();
languageSwitch($('language'), () => dispatchEvent(new CustomEvent('language')));
show($('language'), true);
await start();

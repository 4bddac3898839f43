// Directing the Space: the buttons that make sense in its state, and no others. END asks once more, in place.

import { h, show } from '/static/shared/dom.js';
import { button } from './fields.js';

const WHEN = {
  go: (space) => space.state === 'doors_open' || (space.state === 'holding' && !RESUMABLE(space)),
  resume: (space) => space.state === 'holding' && RESUMABLE(space),
  hold: (space) => ['doors_open', 'on_air', 'holding'].includes(space.state),
  music: (space) => space.state === 'on_air',
  end: (space) => ['doors_open', 'on_air', 'holding'].includes(space.state),
};

// A hold that somebody asked for is resumed; one that came before anyone began is begun.
const RESUMABLE = (space) => !['nobody_armed', 'waiting_for_go'].includes(space.cause);

export function direct(command) {
  const go = button('direct.go', 'go', () => command('go'), { class: 'primary large' });
  const resume = button('direct.resume', 'resume', () => command('resume'), { class: 'primary large' });
  const hold5 = button(['direct.hold', { count: 5 }], 'hold-5', () => command('hold', { minutes: 5 }));
  const hold15 = button(['direct.hold', { count: 15 }], 'hold-15', () => command('hold', { minutes: 15 }));
  const music = button('direct.music', 'music', () => command('music'));
  const end = button('direct.end', 'end', ask);
  const really = button('direct.end.yes', 'end-yes', () => answered(true), { class: 'danger' });
  const keep = button('direct.end.no', 'end-no', () => answered(false));
  const confirm = h('div', { class: 'confirm', hidden: true }, h('p', { t: 'direct.end.ask' }), h('div', { class: 'acts' }, really, keep));
  const acts = h('div', { class: 'acts' }, go, resume, music, hold5, hold15, end);
  const element = h('section', { class: 'panel' }, h('h2', { t: 'direct.title' }), acts, confirm);
  element.addEventListener('keydown', ({ key }) => key === 'Escape' && !confirm.hidden && answered(false));

  function ask() {
    show(confirm, true);
    keep.focus(); // the answer that changes nothing
  }

  function answered(yes) {
    show(confirm, false);
    if (yes) command('end');
    else end.focus();
  }

  function update(space) {
    show(go, WHEN.go(space));
    show(resume, WHEN.resume(space));
    show(hold5, WHEN.hold(space));
    show(hold15, WHEN.hold(space));
    show(music, WHEN.music(space));
    show(end, WHEN.end(space));
    if (!WHEN.end(space)) show(confirm, false);
    show(element, WHEN.end(space));
  }
  return { element, update };
}

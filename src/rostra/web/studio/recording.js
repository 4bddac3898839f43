// After the end: hear the recording, and decide whether the audience may.

import { h, show } from '/static/shared/dom.js';
import { say } from '/static/shared/words.js';
import { button } from './fields.js';

export function recording(api, id, may, command) {
  const audio = h('audio', { controls: true, preload: 'metadata', label: 'recording.title' });
  const status = h('p', { class: 'soft' });
  const approve = button('recording.approve', 'approve', () => command('approve'), { class: 'primary' });
  const withdraw = button('recording.withdraw', 'withdraw', () => command('withdraw'));
  const element = h('section', { class: 'panel', hidden: true },
    h('h2', { t: 'recording.title' }), status, audio, h('div', { class: 'acts' }, approve, withdraw));

  function update(space) {
    const over = space.state === 'ended' || space.state === 'replay';
    show(element, over);
    if (!over) return;
    const there = Boolean(space.recording_url);
    const published = space.state === 'replay';
    say(status, published ? 'recording.published' : there ? 'recording.waiting' : 'recording.none');
    show(audio, there);
    if (there && !audio.getAttribute('src')) audio.src = api.recordingAddress(id);
    show(approve, may.approve && there && !published && space.recording !== 'off');
    show(withdraw, may.approve && published);
  }
  return { element, update };
}

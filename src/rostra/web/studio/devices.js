// Which microphone or loudspeaker to use when one is plugged in or out. A device is {id, name}. No page here.

const STANDS_FOR = new Set(['', 'default', 'communications']); // names of a choice of the system's, not of a device

export const real = (devices) => devices.filter(({ id }) => !STANDS_FOR.has(id));

const holds = (devices, id) => devices.some((device) => device.id === id);

/**
 * What a change of the list means: {use, why, device}. `wanted` is what the person chose, '' for the system's choice;
 * `using` is in use.
 *  - `gone`: the one in use was taken away: the system's choice, '', is better than silence.
 *  - `back`: the chosen one is there again, and is taken up again.
 *  - `new`: another appeared. Nobody's voice changes by itself for that: it is offered.
 */
export function follow({ wanted, using, before, after }) {
  const lost = before.find(({ id }) => id === using);
  if (lost && !holds(after, using)) return { use: '', why: 'gone', device: lost };
  const added = real(after).filter(({ id }) => !holds(before, id));
  const returned = added.find(({ id }) => id === wanted);
  if (returned && using !== wanted) return { use: wanted, why: 'back', device: returned };
  if (added.length && before.length) return { use: null, why: 'new', device: added[0] };
  return { use: null, why: null, device: null };
}

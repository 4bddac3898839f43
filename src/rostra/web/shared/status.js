// The state of a Space in words, for the audience: which sentence, for which state and cause.

const STATE = {
  scheduled: 'state.scheduled',
  doors_open: 'state.doors_open',
  on_air: 'state.on_air',
  holding: 'state.holding',
  ended: 'state.ended',
  replay: 'state.replay',
  postponed: 'state.postponed',
  cancelled: 'state.cancelled',
};

const HOLDING = {
  host: 'holding.host',
  nobody_armed: 'holding.nobody_armed',
  waiting_for_go: 'holding.waiting_for_go',
  speakers_lost: 'holding.speakers_lost',
  stage_lost: 'holding.stage_lost',
};

const ENDED = {
  after_approval: 'ended.after_approval',
  off: 'ended.not_recorded',
  private: 'ended.private',
};

/** The headline's key. With `left_ms` it carries a running {countdown}. */
export function headline(space, left_ms) {
  if (space.state === 'scheduled' && left_ms > 0) return 'state.scheduled.countdown';
  if (space.state === 'doors_open') return left_ms > 0 ? 'state.doors_open.countdown' : 'state.doors_open';
  return STATE[space.state] ?? 'state.unknown';
}

/** The sentence below it: [key, what it needs], or null. `clock` writes an instant as a time of day. */
export function detail(space, clock) {
  switch (space.state) {
    case 'scheduled':
      return ['detail.doors_at', { time: clock(space.doors_at) }];
    case 'holding':
      if (space.resume_at) return ['detail.resume_at', { time: clock(space.resume_at) }];
      return [HOLDING[space.cause] ?? 'holding.host', {}];
    case 'doors_open':
      return ['detail.doors_open', {}];
    case 'ended':
      return [(space.first_on_air || space.first_on_air === undefined) && ENDED[space.recording] || 'ended.over', {}];
    case 'postponed':
      return ['detail.postponed', {}];
    case 'cancelled':
      return ['detail.cancelled', {}];
    default:
      return null;
  }
}

/** What a screen reader hears when the state changes: no running clock in it. */
export function spoken(space, clock) {
  const [key, params] = detail(space, clock) ?? [null, {}];
  return { headline: STATE[space.state] ?? 'state.unknown', detail: key, params };
}

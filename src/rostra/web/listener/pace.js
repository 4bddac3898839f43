// How far behind the stage to listen, and how to get there. Pure: times in, decisions out; no clock, no browser.
//
// Media time and the local clock run at the same rate, so `lag` = now − position is constant while all is well. A
// fragment that arrives at `t`, after the buffer ended at `e`, would have been needed when the position reached `e`: a
// listener whose lag is at least t − e never runs dry. The largest such *need* seen lately, and a margin, is the
// target. It follows the server's cadence by itself: bursts of 5 s make needs of 5 s.
//
// Needs are forgotten after a while, and only then is it safe to catch up: a target below the real cadence would have
// the player run dry, fall back, and catch up again, for ever.

export const FRAGMENT_S = 0.64;
/** What to wait with the first sound: the fragment that greets a listener may have ended a moment ago, or 0.64 s ago. */
export const START_S = 0.1;
const CLOCK_S = 0.2; // what a reader's clock may be wrong without harm
const MARGIN_S = 0.15; // scheduling and a little jitter of the network, on top of the worst need seen
const REMEMBER_S = 20; // a single hiccup is forgotten after this …
const REMEMBER_CADENCES = 5; // … a slow cadence only after it has stopped for several of its own lengths
const BEGIN_S = 0.7; // a join is up to one fragment behind; that is no reason to bend the sound
const DONE_S = 0.05;
const THIN_S = 0.12; // of the margin: then slow down a little, before the buffer runs dry
const FAR_S = 8; // beyond this, catching up by rate would take minutes
const STILL_S = 0.3; // a position that stands this long is not between two frames …
const EDGE_S = 0.3; // … and this close to the end of what is buffered, it waits for something that will not come
const HOLE_S = 0.01; // rounding between tfdt and what the browser reports as buffered

export class Pace {
  #needs = [];
  #end_s = null;
  #announced_s = 0;
  #catching = false;
  #filling = false;

  /** A fragment came at `now_s`; the media then reached `end_s`. The first after a (re)connection says nothing. */
  arrived(now_s, end_s, first = false) {
    if (!first && this.#end_s !== null) this.#remember(now_s, now_s - this.#end_s);
    this.#end_s = end_s;
  }

  // Needs are in the units of `lag`: local clock minus media time. Only the largest of what is left matters, so the
  // list is kept falling: a new need drops the smaller ones that expire before it. The smallest stays: how far a need
  // is above it tells the cadence.
  #remember(now_s, need_s) {
    const kept = this.#needs.filter((need) => need.until_s > now_s);
    const spread_s = need_s - Math.min(need_s, ...kept.map((need) => need.need_s));
    const until_s = now_s + Math.max(REMEMBER_S, REMEMBER_CADENCES * spread_s);
    const covered = (need) => need.need_s <= need_s && need.until_s <= until_s;
    const least = kept.reduce((low, need) => (need.need_s < low.need_s ? need : low), { need_s: Infinity });
    this.#needs = [...kept.filter((need) => need === least || !covered(need)), { need_s, until_s }];
  }

  /** The server told how far apart bursts will come: believe it before it is observed. */
  cadence(ms) {
    this.#announced_s = ms / 1000;
  }

  /** The connection broke or the timeline began anew: arrivals before say nothing about those after. */
  restart() {
    this.#needs = [];
    this.#end_s = null;
    this.#catching = false;
  }

  /** The lag to aim for, or null before anything was observed. */
  target_s(now_s) {
    const kept = this.#needs.filter((need) => need.until_s > now_s);
    if (!kept.length) return null;
    const least = Math.min(...kept.map((need) => need.need_s));
    const most = Math.max(...kept.map((need) => need.need_s));
    return Math.max(most, least + this.#announced_s - FRAGMENT_S) + MARGIN_S;
  }

  /** The buffer that this target amounts to just after a fragment came, or null: for patience, and for support. */
  margin_s(now_s) {
    const target_s = this.target_s(now_s);
    if (target_s === null) return null;
    return target_s - Math.min(...this.#needs.map((need) => need.need_s)) + FRAGMENT_S;
  }

  /**
   * What to do now. `position_s` is the media time that sounds, `ranges` what is buffered, as [start, end] pairs, and
   * `still_s` for how long the position has not moved. Returns {seek_s: where to jump, or null; rate: how fast to play; hole: whether the jump is over missing sound}.
   */
  decide(now_s, position_s, ranges, still_s = 0) {
    const jump = overHole(position_s, ranges, still_s > STILL_S ? EDGE_S : HOLE_S);
    if (jump !== null) return { seek_s: jump, rate: 1, hole: true };
    const target_s = this.target_s(now_s);
    if (target_s === null || !ranges.length) return { seek_s: null, rate: 1, hole: false };
    const excess_s = now_s - position_s - target_s;
    const reach_s = ranges[ranges.length - 1][1] - FRAGMENT_S / 2;
    if (excess_s > FAR_S && position_s + excess_s < reach_s) {
      this.#catching = false;
      return { seek_s: position_s + excess_s, rate: 1, hole: false };
    }
    return { seek_s: null, rate: this.#rate(excess_s), hole: false };
  }

  #rate(excess_s) {
    if (excess_s > BEGIN_S) this.#catching = true;
    if (excess_s < DONE_S) this.#catching = false;
    if (excess_s < -THIN_S) this.#filling = true;
    if (excess_s > 0) this.#filling = false;
    if (this.#catching) return excess_s > 2 ? 1.08 : excess_s > 1 ? 1.05 : 1.03;
    return this.#filling ? 0.97 : 1;
  }
}

/**
 * Where the sound goes on when the position stands before a hole (or before everything), else null. Players stop some
 * way before the end of what is buffered: `edge_s` from an end counts as being there.
 */
function overHole(position_s, ranges, edge_s) {
  for (const [start_s, end_s] of ranges) {
    if (position_s < start_s - HOLE_S) return start_s + HOLE_S / 2;
    if (position_s < end_s - edge_s) return null; // there is something to play
  }
  return null;
}

/**
 * How much of the fragment that greets a listener to pass over, in seconds. It ended up to 0.64 s ago, and whoever plays
 * all of it stays that much further behind for good. `age_s` comes from the reader's own clock: it is believed when it
 * makes sense, and then only in part.
 */
export function skip_s(age_s) {
  return age_s > CLOCK_S && age_s < FRAGMENT_S + CLOCK_S ? Math.min(age_s - CLOCK_S, FRAGMENT_S - CLOCK_S) : 0;
}

/** Seconds to wait before the next attempt: 0.2 to 2 s at first, then up to 15 s; `chance` is random in [0, 1). */
export function backoff_s(attempt, chance) {
  const most = Math.min(15, 2 * 1.6 ** Math.max(0, attempt - 1));
  return 0.2 + (most - 0.2) * chance;
}

/**
 * Silence on the connection after which it is taken for dead. Long: when an edge is so busy that a flush takes seconds,
 * a whole audience that comes back at once is the last thing it needs.
 */
export function patience_s(target_s, programme_lost) {
  return Math.max(programme_lost ? 40 : 20, 2.5 * (target_s ?? 0));
}

/**
 * Seconds until a page that holds no push request asks for the state again. `since_s` is how long the state has lasted:
 * who stays on a page that is over asks less and less.
 */
export function poll_s(state, until_doors_s, since_s, chance) {
  const spread = 0.7 + 0.6 * chance;
  if (state === 'scheduled') {
    if (until_doors_s > 0 && until_doors_s < 90) return until_doors_s + 0.5 + 3 * chance;
    return until_doors_s <= 0 ? 3 * spread : Math.min(60, until_doors_s / 2) * spread;
  }
  const patient = Math.min(900, Math.max(30, since_s / 4));
  const every = { doors_open: 20, on_air: 30, holding: 30, ended: patient, postponed: patient, replay: 900, cancelled: 900 };
  return (every[state] ?? 10) * spread;
}

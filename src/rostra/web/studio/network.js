// The connection in words. What the browser counts (W3C webrtc-stats) becomes figures, figures a grade, and a grade is
// changed only when it lasts: worse soon, better later, so that the sentence does not flicker.

const WINDOW_MS = 6000;
const WORSE_MS = 2000;
const BETTER_MS = 6000;
const EASING = 0.6; // to get better, figures must fall below this much of what made them worse

/** The losses that people notice behind FEC and concealment: words from 3 %, the sense of it from 10 %. */
const LIMITS = {
  mine: { fair: 0.03, poor: 0.1 },
  theirs: { fair: 0.03, poor: 0.1 },
  late: { fair: 400, poor: Infinity },
};
const RANK = { good: 0, fair: 1, poor: 2 };

/** The counters of one connection now, out of `RTCPeerConnection.getStats()`. */
export function counted(report, at_ms) {
  const found = { at_ms, sent: 0, lost_mine: null, received: 0, lost_theirs: 0, rtt_ms: null };
  for (const entry of report.values()) {
    if (entry.type === 'outbound-rtp') found.sent = entry.packetsSent ?? 0;
    else if (entry.type === 'inbound-rtp') {
      found.received = entry.packetsReceived ?? 0;
      found.lost_theirs = entry.packetsLost ?? 0;
    } else if (entry.type === 'remote-inbound-rtp') found.lost_mine = entry.packetsLost ?? null;
    else if (entry.type === 'candidate-pair' && entry.nominated && entry.currentRoundTripTime !== undefined) {
      found.rtt_ms = entry.currentRoundTripTime * 1000;
    }
  }
  return found;
}

/** Keeps some seconds of counters of one connection. */
export class Window {
  #kept = [];

  /** Figures over the last seconds: {rtt_ms, mine, theirs}, losses 0..1 or null while too little was sent to tell. */
  add(now) {
    if (this.#kept.length && now.received < this.#kept.at(-1).received) this.#kept = []; // another connection
    this.#kept.push(now);
    while (this.#kept[0].at_ms < now.at_ms - WINDOW_MS) this.#kept.shift();
    const [first] = this.#kept;
    const theirs = share(now.lost_theirs - first.lost_theirs, now.received - first.received + now.lost_theirs - first.lost_theirs);
    const told = this.#kept.find((each) => each.lost_mine !== null);
    const mine = told && now.lost_mine !== null ? share(now.lost_mine - told.lost_mine, now.sent - told.sent) : null;
    return { rtt_ms: now.rtt_ms, mine, theirs };
  }
}

const ENOUGH = 50; // packets, a second of sound: fewer tell nothing about a share

function share(lost, of) {
  return of < ENOUGH ? null : Math.min(1, Math.max(0, lost / of));
}

/** What browser and stage know of one connection, together: the worse of the two. `seat.network` is the stage's. */
export function joined(own, network) {
  const worse = (a, b) => (a === null || a === undefined ? (b ?? null) : Math.max(a, b ?? 0));
  return {
    rtt_ms: own.rtt_ms ?? network?.rtt_ms ?? null,
    mine: worse(own.mine, network?.loss_in),
    theirs: worse(own.theirs, network?.loss_out),
  };
}

/** {grade, why}: `why` is what is worst: `mine` (they miss me), `theirs` (I miss them), `late`; null when good. */
export function graded({ rtt_ms, mine, theirs }, shown = 'good') {
  if (rtt_ms === null && mine === null && theirs === null) return { grade: null, why: null };
  let worst = { grade: 'good', why: null };
  for (const [why, value] of [['mine', mine], ['theirs', theirs], ['late', rtt_ms]]) {
    const grade = gradeOf(LIMITS[why], value ?? 0, shown);
    if (RANK[grade] > RANK[worst.grade]) worst = { grade, why };
  }
  return worst;
}

function gradeOf({ fair, poor }, value, shown) {
  if (value >= poor * (shown === 'poor' ? EASING : 1)) return 'poor';
  return value >= fair * (shown === 'good' || shown === null ? 1 : EASING) ? 'fair' : 'good';
}

/** A grade that waits: what it shows changes when another has lasted. */
export class Steady {
  shown = { grade: null, why: null };
  #since_ms = null;

  judge(raw, now_ms) {
    const [was, is] = [RANK[this.shown.grade] ?? -1, RANK[raw.grade] ?? -1];
    if (was === is) {
      // A sentence that is up stays, even if now the other direction is the worse one.
      this.#since_ms = null;
      if (is < 0) this.shown = raw;
      return this.shown;
    }
    this.#since_ms ??= now_ms;
    const wait_ms = was < 0 || is < 0 ? 0 : is > was ? WORSE_MS : BETTER_MS;
    if (now_ms - this.#since_ms >= wait_ms) {
      this.shown = raw;
      this.#since_ms = null;
    }
    return this.shown;
  }
}

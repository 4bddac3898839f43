// "You are talking while muted", from levels alone. Speech rises and falls some four times a second; a fan does not, a
// door slams once, and typing is over before it is loud for long. The reader of levels gives them, 15 a second.

const WINDOW_MS = 2000;
const MEMORY_MS = 12_000; // the floor is learned from this much
const LEAST_DB = -48; // below, nobody talks to this microphone
const ABOVE_DB = 10; // over the floor
const SWING_DB = 6;
const SHARE = 0.35; // of the window that is loud
const RISES = 3;
const STEPS = 20; // fewer than these levels, more than a second, tell nothing
const FADE_MS = 3000; // the sentence stays for a pause between two sentences

export class Unheard {
  #levels = [];
  #since_ms = -Infinity;
  #last_ms = -Infinity;

  /** Forget the room: the microphone is another. */
  reset() {
    this.#levels = [];
    this.#last_ms = -Infinity;
  }

  /** The microphone is closed from now on: what was said before was heard. */
  closed(now_ms) {
    this.#since_ms = now_ms;
    this.#last_ms = -Infinity;
  }

  /** Whether somebody is talking at `now_ms`, given the level now. `least_db`: raise it while others are heard aloud. */
  heard(level_db, now_ms, least_db = LEAST_DB) {
    this.#levels.push([now_ms, Math.max(-90, level_db)]);
    while (this.#levels[0][0] < now_ms - MEMORY_MS) this.#levels.shift();
    const from_ms = Math.max(now_ms - WINDOW_MS, this.#since_ms);
    const recent = this.#levels.filter(([at]) => at > from_ms).map(([, level]) => level);
    if (recent.length >= STEPS && this.#speaks(recent, least_db)) this.#last_ms = now_ms;
    return now_ms - this.#last_ms < FADE_MS;
  }

  #speaks(recent, least_db) {
    const line_db = Math.max(least_db, this.#floor() + ABOVE_DB);
    const loud = recent.filter((level) => level > line_db).length;
    return loud / recent.length >= SHARE && rises(recent) >= RISES;
  }

  /** What the room is like when nobody talks: the quietest tenth. */
  #floor() {
    const levels = this.#levels.map(([, level]) => level).sort((a, b) => a - b);
    return levels[Math.floor(levels.length / 10)];
  }
}

/** How often the level climbs by more than a swing after falling by as much. */
function rises(levels) {
  let [low, high, count] = [levels[0], levels[0], 0];
  let climbing = false;
  for (const level of levels) {
    low = Math.min(low, level);
    high = Math.max(high, level);
    if (!climbing && level > low + SWING_DB) {
      count += 1;
      climbing = true;
      high = level;
    } else if (climbing && level < high - SWING_DB) {
      climbing = false;
      low = level;
    }
  }
  return count;
}

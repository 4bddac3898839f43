// Holds the one request that carries sound and state, and comes back by itself when it breaks.

import { backoff_s } from './pace.js';

/**
 * `hooks`: url() → where to ask; bytes(chunk, first); patience_ms(); broken(); and two that decide whether to go on, as
 * promises of a boolean: over() after a clean end, refused(problem, status).
 */
export class Connection {
  #hooks;
  #abort = null;
  #attempt = 0;
  #wake = () => {};
  stopped = false;

  constructor(hooks) {
    this.#hooks = hooks;
  }

  async run() {
    // Another network: what was held on the old one is dead, though nothing says so.
    const hurry = () => (this.#reading ? this.#abort.abort() : this.#wake());
    addEventListener('online', hurry);
    while (!this.stopped && (await this.#once())) {
      this.#attempt += 1;
      if (!this.stopped) await this.#pause();
    }
    removeEventListener('online', hurry);
  }

  stop() {
    this.stopped = true;
    this.#abort?.abort();
    this.#wake();
  }

  #wait_s = 0;
  #reading = false;

  async #pause() {
    const wait_s = Math.max(this.#wait_s, backoff_s(this.#attempt, Math.random()));
    this.#wait_s = 0;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait_s * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** One request, to its end; whether there should be another. */
  async #once() {
    this.#abort = new AbortController();
    try {
      const answer = await fetch(this.#hooks.url(), { cache: 'no-store', signal: this.#abort.signal });
      if (!answer.ok) return await this.#refused(answer);
      this.#reading = true;
      await this.#read(answer.body.getReader());
      // A clean end may mean that the Space has ended, or only that this worker makes way for another.
      return this.stopped ? false : await this.#hooks.over();
    } catch {
      if (this.stopped) return false;
      this.#hooks.broken();
      return true;
    } finally {
      this.#reading = false;
    }
  }

  async #read(reader) {
    let first = true;
    for (;;) {
      const dead = setTimeout(() => this.#abort.abort(), this.#hooks.patience_ms());
      const { done, value } = await reader.read().finally(() => clearTimeout(dead));
      if (done || this.stopped) return;
      this.#hooks.bytes(value, first);
      first = false;
      this.#attempt = 0;
    }
  }

  async #refused(answer) {
    const retry_s = Number(answer.headers.get('Retry-After'));
    // Everybody is told the same time; coming back spread out is up to us.
    if (retry_s > 0) this.#wait_s = retry_s * (1 + 0.5 * Math.random());
    const problem = await answer.json().catch(() => ({}));
    return this.#hooks.refused(problem, answer.status);
  }
}

// The microphone: asked for once the reader has agreed, chosen by name, measured before anyone else hears it.

export class Microphone extends EventTarget {
  stream = null;
  plain = false; // leave the sound as it is: for studio microphones and music
  #wanted = ''; // deviceId, or empty for the system's choice

  /** Browsers give microphones to secure pages only: HTTPS, or localhost. */
  static get possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener('devicechange', () => this.dispatchEvent(new CustomEvent('devices')));
  }

  /** Open, or open another: raises what getUserMedia raises. The old one goes on until the new one is there. */
  async open(device = this.#wanted) {
    const clean = !this.plain;
    const audio = { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean, channelCount: 1 };
    if (device) audio.deviceId = { exact: device };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.#wanted = device;
    this.close();
    this.stream = stream;
    stream.getTracks()[0].addEventListener('ended', () => this.stream === stream && this.#lost());
    this.dispatchEvent(new CustomEvent('opened'));
  }

  /** A microphone was pulled out: the system's next choice is better than silence. */
  #lost() {
    this.#wanted = '';
    this.open().catch(() => this.dispatchEvent(new CustomEvent('gone')));
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
  }

  get track() {
    return this.stream?.getTracks()[0] ?? null;
  }

  get device() {
    return this.track?.getSettings().deviceId ?? '';
  }

  /** [{id, name}]; names are known only once a microphone was allowed. */
  async devices() {
    const all = await navigator.mediaDevices.enumerateDevices();
    return all.filter(({ kind }) => kind === 'audioinput').map(({ deviceId, label }) => ({ id: deviceId, name: label }));
  }
}

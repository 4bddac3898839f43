// The ring around the play button: a studio clock's sixty marks. Before the start they count the seconds, on air they
// carry the sound (it rises at the top and runs down both sides), in the recording they show the place.

const MARKS = 60;
const RIPPLE_S = 0.045; // from one mark to the next: top to bottom takes 1.3 s
const FRAME_MS = 50; // calm, and a third of the battery
const STILL_FRAME_MS = 500;

const still = matchMedia('(prefers-reduced-motion: reduce)');
const dark = matchMedia('(prefers-color-scheme: dark)');

export class Ring {
  #canvas;
  #draw;
  #colours = {};
  #painted = '';
  #smooth = 0;
  /** () → {mode: 'rest'}, {mode: 'seconds', left_ms}, {mode: 'sound', level(ago_s)}, {mode: 'place', share} */
  #look;

  constructor(canvas, look) {
    this.#canvas = canvas;
    this.#draw = canvas.getContext('2d');
    this.#look = look;
    this.#readColours();
    dark.addEventListener('change', () => this.#readColours());
    new ResizeObserver(() => this.#fit()).observe(canvas);
    this.#fit();
    this.#frame();
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    this.#colours = { on: style.getPropertyValue('--accent'), off: style.getPropertyValue('--mark') };
  }

  #fit() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    if (side && this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
    this.#painted = '';
  }

  /** Animation frames stop while nobody looks; the timer between them spares the phone the ones it does not need. */
  #frame() {
    this.#paint(this.#look());
    setTimeout(() => requestAnimationFrame(() => this.#frame()), still.matches ? STILL_FRAME_MS : FRAME_MS);
  }

  #paint(look) {
    const marks = Array.from({ length: MARKS }, this.#marker(look));
    const picture = marks.map(({ on, reach }) => `${on}${reach.toFixed(2)}`).join() + this.#colours.on;
    if (picture === this.#painted) return; // most of the time, before the start and in the recording
    this.#painted = picture;
    const { width } = this.#canvas;
    const draw = this.#draw;
    draw.clearRect(0, 0, width, width);
    draw.lineCap = 'round';
    draw.lineWidth = width * 0.0085;
    marks.forEach(({ on, reach }, mark) => {
      draw.strokeStyle = on ? this.#colours.on : this.#colours.off;
      this.#stroke(draw, width / 2, mark, reach);
    });
  }

  #marker(look) {
    const loud = look.mode === 'sound' ? this.#slow(look.level(0)) : 0;
    return (_, mark) => this.#mark(look, mark, loud);
  }

  /** Whether a mark is lit, and how far it reaches, from 0 to 1. */
  #mark(look, mark, loud) {
    const long = mark % 5 === 0 ? 0.16 : 0.06; // a clock's longer strokes
    switch (look.mode) {
      case 'seconds':
        return { on: mark < Math.ceil(look.left_ms / 1000) % 60 || look.left_ms <= 0, reach: long };
      case 'place':
        return { on: mark < look.share * MARKS, reach: long };
      case 'sound': {
        const level = still.matches ? loud : look.level(Math.min(mark, MARKS - mark) * RIPPLE_S);
        return { on: level > 0.03, reach: Math.max(0.05, level) };
      }
      default:
        return { on: false, reach: long };
    }
  }

  #slow(level) {
    this.#smooth += (level - this.#smooth) * 0.3;
    return this.#smooth;
  }

  #stroke(draw, centre, mark, reach) {
    const angle = (mark / MARKS) * 2 * Math.PI - Math.PI / 2;
    const [x, y] = [Math.cos(angle), Math.sin(angle)];
    const inner = centre * 0.74;
    const outer = inner + centre * 0.25 * Math.min(1, reach);
    draw.beginPath();
    draw.moveTo(centre + x * inner, centre + y * inner);
    draw.lineTo(centre + x * outer, centre + y * outer);
    draw.stroke();
  }
}

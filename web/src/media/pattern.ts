/**
 * The test pattern: moving water with a clock, and once a second a white frame and a beep that
 * start at the same instant and last 100 ms. For people without a camera, and for measuring lip
 * sync: what was one instant here must be one instant there.
 */

/** Small enough for a slow machine to encode on time: a late flash would measure the machine. */
const WIDTH = 640;
const HEIGHT = 360;
const FRAME_MS = 1000 / 30;
const PERIOD_MS = 1000;
const FLASH_MS = 100;
/** Beeps are scheduled this far ahead, so that a late timer moves none of them. */
const AHEAD_MS = 700;
const LEAD_MS = 250;

export interface Pattern {
  media: MediaStream;
  stop: () => void;
}

export function startPattern(): Pattern {
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const pen = canvas.getContext('2d', { alpha: false });
  if (pen === null) throw new Error('this browser draws no canvas');
  const audio = new AudioContext({ latencyHint: 'interactive' });
  const out = audio.createMediaStreamDestination();
  // With nothing connected between two beeps the destination would fall silent in the literal sense:
  // no samples, gaps in time, and a receiver that stretches the sound to fill them.
  const bed = new ConstantSourceNode(audio, { offset: 0 });
  bed.connect(out);
  bed.start();
  const t0 = performance.now();
  let stopped = false;
  let drawTimer: ReturnType<typeof setTimeout>;

  const draw = (): void => {
    if (stopped) return;
    const now = performance.now() - t0;
    const phase = now % PERIOD_MS;
    paint(pen, now, phase < FLASH_MS && now >= PERIOD_MS);
    // Next frame, or the edge of a flash where that comes first: the flash starts when it is due.
    const edge = phase < FLASH_MS ? FLASH_MS - phase : PERIOD_MS - phase;
    drawTimer = setTimeout(draw, Math.max(1, Math.min(FRAME_MS, edge)));
  };
  draw();
  const beeps = scheduleBeeps(audio, out, t0);

  // A page that nobody has touched may keep its audio context suspended: the first touch starts it.
  const wake = (): void => void audio.resume();
  wake();
  addEventListener('pointerdown', wake);
  addEventListener('keydown', wake);

  const media = canvas.captureStream();
  for (const track of out.stream.getAudioTracks()) media.addTrack(track);
  return {
    media,
    stop: () => {
      stopped = true;
      clearTimeout(drawTimer);
      clearInterval(beeps);
      removeEventListener('pointerdown', wake);
      removeEventListener('keydown', wake);
      for (const track of media.getTracks()) track.stop();
      void audio.close();
    },
  };
}

/**
 * Audio renders in bursts, so one reading of `currentTime` is off by up to a burst: the mapping
 * between the two clocks is the mean of many.
 */
function scheduleBeeps(audio: AudioContext, out: AudioNode, t0: number): ReturnType<typeof setInterval> {
  const offsets: number[] = [];
  let scheduled = 0;
  return setInterval(() => {
    if (audio.state !== 'running') {
      offsets.length = 0;
      return;
    }
    offsets.push(audio.currentTime * 1000 - performance.now());
    if (offsets.length > 60) offsets.shift();
    if (offsets.length < 10) return;
    const offset = offsets.reduce((sum, value) => sum + value, 0) / offsets.length;
    const now = performance.now() - t0;
    const next = Math.max(scheduled + 1, Math.ceil((now + LEAD_MS) / PERIOD_MS));
    if (next * PERIOD_MS - now > AHEAD_MS) return;
    scheduled = next;
    beep(audio, out, (t0 + next * PERIOD_MS + offset) / 1000);
  }, 25);
}

function beep(audio: AudioContext, out: AudioNode, at: number): void {
  const tone = audio.createOscillator();
  const gain = audio.createGain();
  tone.frequency.value = 1000;
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(0.5, at + 0.002);
  gain.gain.setValueAtTime(0.5, at + FLASH_MS / 1000 - 0.002);
  gain.gain.linearRampToValueAtTime(0, at + FLASH_MS / 1000);
  tone.connect(gain).connect(out);
  tone.start(at);
  tone.stop(at + FLASH_MS / 1000 + 0.01);
}

function paint(pen: CanvasRenderingContext2D, now: number, flash: boolean): void {
  if (flash) {
    pen.fillStyle = '#ffffff';
    pen.fillRect(0, 0, WIDTH, HEIGHT);
    return;
  }
  const t = now / 1000;
  pen.fillStyle = '#07222b';
  pen.fillRect(0, 0, WIDTH, HEIGHT);
  const tones = ['#0c3440', '#0f4452', '#125566', '#15677a', '#1a7c8f'];
  for (const [line, tone] of tones.entries()) {
    pen.fillStyle = tone;
    pen.beginPath();
    const y = 190 + line * 35;
    pen.moveTo(0, HEIGHT);
    for (let x = 0; x <= WIDTH; x += 16) {
      const wave = Math.sin(x / (95 - line * 7) + t * (0.6 + line * 0.22)) * (17 - line * 2) + Math.sin(x / 36 - t * 0.9 + line) * 3.5;
      pen.lineTo(x, y + wave);
    }
    pen.lineTo(WIDTH, HEIGHT);
    pen.fill();
  }
  pen.fillStyle = '#e9f6f5';
  pen.textAlign = 'center';
  pen.font = '600 18px ui-sans-serif, system-ui, sans-serif';
  pen.fillText('Freshet test pattern', WIDTH / 2, 74);
  pen.font = '600 60px ui-monospace, monospace';
  const clock = new Date();
  const two = (value: number): string => String(value).padStart(2, '0');
  pen.fillText(`${two(clock.getHours())}:${two(clock.getMinutes())}:${two(clock.getSeconds())}.${Math.floor(clock.getMilliseconds() / 100)}`, WIDTH / 2, 142);
  // A hand that goes round once a second shows how smoothly the picture moves.
  pen.beginPath();
  pen.moveTo(WIDTH / 2, 180);
  pen.arc(WIDTH / 2, 180, 17, -Math.PI / 2, -Math.PI / 2 + (t % 1) * Math.PI * 2);
  pen.fillStyle = '#ff8f6b';
  pen.fill();
}

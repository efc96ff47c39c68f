/** The loudness of a local stream, 0–1 on a scale that looks right, many times a second. */
export class LevelMeter {
  #audio: AudioContext | null = null;
  #source: MediaStreamAudioSourceNode | null = null;
  #analyser: AnalyserNode | null = null;
  #samples = new Float32Array(1024);

  attach(media: MediaStream | null): void {
    this.#source?.disconnect();
    this.#source = null;
    if (media === null || media.getAudioTracks().length === 0) return;
    this.#audio ??= new AudioContext();
    void this.#audio.resume();
    this.#analyser ??= new AnalyserNode(this.#audio, { fftSize: 1024 });
    this.#source = this.#audio.createMediaStreamSource(new MediaStream(media.getAudioTracks()));
    this.#source.connect(this.#analyser);
  }

  read(): number {
    if (this.#source === null || this.#analyser === null) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return loudness(Math.sqrt(sum / this.#samples.length));
  }

  close(): void {
    this.attach(null);
    void this.#audio?.close();
    this.#audio = null;
    this.#analyser = null;
  }
}

/** Amplitude to a scale of −60…0 dB. */
export function loudness(amplitude: number): number {
  if (amplitude <= 0.001) return 0;
  return Math.min(1, Math.max(0, 1 + (20 * Math.log10(amplitude)) / 60));
}

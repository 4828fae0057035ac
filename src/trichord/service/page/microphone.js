// Recording a sound to search by.

export const LONGEST = 30; // seconds
const SILENCE = 1e-4; // no microphone stays below this level

const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const ENDINGS = { "audio/webm": "webm", "audio/mp4": "m4a", "audio/ogg": "ogg" };

/** Why recording is not possible; null if it is. */
export function hindrance() {
  if (!isSecureContext) return "Recording needs https or this machine's own address: drop a sound file instead.";
  if (!navigator.mediaDevices || !window.MediaRecorder) return "This browser cannot record: drop a sound file instead.";
  return null;
}

/**
 * Begin to record. `onTick(seconds, level)` is called for each frame of the screen, with a level from 0 to 1;
 * `onFull()` at the maximum length. Returns {finish(): {file, name, heard}, discard()}; `heard`: not only silence.
 */
export async function record(onTick, onFull) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
  const portions = [];
  recorder.addEventListener("dataavailable", ({ data }) => data.size && portions.push(data));
  const ended = new Promise((resolve) => recorder.addEventListener("stop", resolve, { once: true }));
  const ear = listen(stream);
  const begun = performance.now();
  let frame = 0;
  let loudest = 0;
  const follow = () => {
    const seconds = (performance.now() - begun) / 1000;
    const level = ear.level();
    loudest = Math.max(loudest, level);
    onTick(seconds, level);
    if (seconds >= LONGEST) onFull();
    else frame = requestAnimationFrame(follow);
  };
  recorder.start();
  follow();
  const end = async () => {
    cancelAnimationFrame(frame);
    if (recorder.state !== "inactive") recorder.stop();
    await ended;
    ear.close();
    for (const track of stream.getTracks()) track.stop();
  };
  return {
    discard: end,
    finish: async () => {
      await end();
      const type = recorder.mimeType.split(";")[0];
      const file = new Blob(portions, { type });
      return { file, name: `recording.${ENDINGS[type] ?? "webm"}`, heard: loudest > SILENCE };
    },
  };
}

function listen(stream) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 512 });
  context.createMediaStreamSource(stream).connect(analyser);
  const wave = new Float32Array(analyser.fftSize);
  return {
    close: () => context.close(),
    level: () => {
      analyser.getFloatTimeDomainData(wave);
      return Math.min(1, 3 * Math.sqrt(wave.reduce((sum, value) => sum + value * value, 0) / wave.length));
    },
  };
}

/** Draw the latest levels as vertical strokes, the newest at the right. */
export function meter(canvas) {
  const levels = new Array(40).fill(0);
  const pen = canvas.getContext("2d");
  return (level) => {
    levels.push(level);
    levels.shift();
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = getComputedStyle(canvas).color;
    levels.forEach((one, at) => {
      const reach = Math.max(2, one * canvas.height);
      pen.fillRect(at * 4, (canvas.height - reach) / 2, 2, reach);
    });
  };
}

"""What each of the twelve things sounds like: synthesis from a pitch, a tempo and a seed.

Struck things (bell, drum, door, ...) are one short grain, laid down at each stroke. Lasting things
(car, siren, cloud) sound throughout and surge at each stroke.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trichord_world.format import RATE, SAMPLES, stroke_times
from trichord_world.law import STROKES_PER_SECOND, Pitch, Speed, Thing

Wave = NDArray[np.float64]
Random = np.random.Generator

PITCHES: dict[Pitch, float] = {"low": 0.5, "middle": 1.0, "high": 2.0}
"""Factor on every thing's fundamental, or on the centre of its noise: octaves apart."""

_ATTACK = 0.002  # seconds; shorter clicks, longer blurs the onset
_CREST = 2.5  # peak over root mean square at least left to every sound


def effect(thing: Thing, pitch: Pitch, tempo: Speed, random: Random) -> Wave:
    """Four seconds of a thing's sound, peak 1 or less: (sample,).

    `random` drives nothing that has a name. Steady tones stay below peak 1, for they are louder to
    the ear than clicks of the same peak.
    """
    factor = PITCHES[pitch] * random.uniform(0.97, 1.03)
    if thing in _LASTING:
        wave = _LASTING[thing](factor, _since_stroke(tempo), 1 / STROKES_PER_SECOND[tempo], random)
    else:
        wave = _struck(_GRAINS[thing], factor, tempo, random)
    return wave / max(np.abs(wave).max(), _CREST * _loudest(wave))


def _loudest(wave: Wave) -> float:
    """Root mean square of the loudest of consecutive 50 milliseconds."""
    return float(np.sqrt(np.square(wave.reshape(-1, RATE // 20)).mean(axis=1).max()))


def _struck(
    grain: Callable[[float, Random], Wave], factor: float, tempo: Speed, random: Random
) -> Wave:
    wave = np.zeros(SAMPLES)
    struck = grain(factor, random)
    fade = min(struck.size, round(_ATTACK * RATE))
    struck[:fade] *= np.linspace(0, 1, fade)
    struck[-4 * fade :] *= np.linspace(1, 0, 4 * fade)  # what still rings must not end in a click
    for time in stroke_times(tempo):
        first = round(time * RATE)
        part = struck[: SAMPLES - first]
        wave[first : first + part.size] += part * random.uniform(0.9, 1.0)
    return wave


def _since_stroke(tempo: Speed) -> Wave:
    """Seconds since the last stroke, at each sample; one is taken to precede the file."""
    period = 1 / STROKES_PER_SECOND[tempo]
    return (np.arange(SAMPLES) / RATE + period / 2) % period


def _clock(seconds: float) -> Wave:
    return np.arange(round(seconds * RATE)) / RATE


def _modes(times: Wave, modes: Sequence[tuple[float, float, float]]) -> Wave:
    """Sum of decaying sines: (frequency in hertz, amplitude, decay in seconds) each."""
    wave = np.zeros(times.size)
    for frequency, amplitude, decay in modes:
        wave += amplitude * np.exp(-times / decay) * np.sin(2 * np.pi * frequency * times)
    return wave


def _band(count: int, centre: float, octaves: float, random: Random) -> Wave:
    """Noise whose spectrum is a bell of `octaves` half width around `centre`, unit deviation."""
    spectrum = random.standard_normal((2, count // 2 + 1))
    frequency = np.maximum(np.arange(count // 2 + 1) * RATE / count, 1.0)
    shape = np.exp(-0.5 * (np.log2(frequency / centre) / octaves) ** 2)
    noise = np.fft.irfft((spectrum[0] + 1j * spectrum[1]) * shape, count)
    return noise / noise.std()


def _swept(frequency: Wave, harmonics: Sequence[float]) -> Wave:
    """A tone of changing frequency (hertz at each sample), its harmonics of these amplitudes."""
    turns = np.cumsum(frequency) / RATE
    cycle = np.arange(2049) / 2048
    table = sum(a * np.sin(2 * np.pi * (k + 1) * cycle) for k, a in enumerate(harmonics))
    return np.interp(turns % 1, cycle, np.asarray(table))


def _bell(factor: float, random: Random) -> Wave:
    # Partials of a church bell over its prime: hum, prime, tierce, quint, nominal and above.
    ratios = (0.5, 1.0, 1.19, 1.5, 2.0, 2.52, 3.01, 4.1, 5.4)
    levels = (0.4, 0.8, 0.6, 0.3, 1.0, 0.4, 0.45, 0.3, 0.2)
    decays = (0.9, 0.7, 0.55, 0.4, 0.45, 0.25, 0.22, 0.12, 0.08)
    prime = 480 * factor
    detuned = random.uniform(0.995, 1.005, len(ratios))
    partials = [
        (prime * ratio * off, level, decay)
        for ratio, off, level, decay in zip(ratios, detuned, levels, decays, strict=True)
    ]
    times = _clock(2.0)
    clapper = 0.5 * _band(times.size, 3500 * factor**0.5, 0.8, random) * np.exp(-times / 0.012)
    return _modes(times, partials) + clapper


def _drum(factor: float, random: Random) -> Wave:
    times = _clock(0.4)
    glide = 85 * factor * (1 + 0.7 * np.exp(-times / 0.025))
    membrane = _swept(glide, (1.0,)) * np.exp(-times / 0.13)
    # Ratios of a circular membrane's modes (zeros of Bessel functions).
    rim = _modes(times, [(85 * factor * r, 0.25, 0.06) for r in (1.59, 2.14, 2.65, 3.16)])
    snare = 0.35 * _band(times.size, 1800 * factor**0.5, 1.2, random) * np.exp(-times / 0.05)
    return membrane + rim + snare


def _ball(factor: float, random: Random) -> Wave:
    times = _clock(0.28)
    falling = factor * (190 + 480 * np.exp(-times / 0.03))
    body = _swept(falling, (1.0, 0.35, 0.15)) * np.exp(-times / 0.05)
    slap = 0.25 * _band(times.size, 900 * factor, 0.6, random) * np.exp(-times / 0.006)
    return body + slap


def _bird(factor: float, random: Random) -> Wave:
    """Three chirps: up, up and down."""
    note = _clock(0.075)
    bend = random.uniform(0.9, 1.1)
    rise = 2300 * factor * 2 ** (0.75 * bend * note / note[-1])
    hump = 2600 * factor * 2 ** (0.6 * bend * np.sin(np.pi * note / note[-1]))
    swell = np.minimum(note / 0.006, 1) * np.minimum((note[-1] - note) / 0.03, 1)
    rest = np.zeros(round(0.018 * RATE))
    notes = [_swept(pitch, (1.0, 0.12)) * swell for pitch in (rise, rise, hump[::-1])]
    return np.concatenate([notes[0], rest, 0.9 * notes[1], rest, notes[2]])


def _clock_tick(factor: float, random: Random) -> Wave:
    """A tick: the escapement's click, then the case that it shakes."""
    times = _clock(0.09)
    case = [(1450 * factor, 1.0, 0.010), (2310 * factor, 0.8, 0.008), (3870 * factor, 0.5, 0.005)]
    click = 0.5 * _band(times.size, 3200 * factor, 0.5, random) * np.exp(-times / 0.003)
    second = np.roll(click, round(0.022 * RATE))
    return _modes(times, case) + click + 0.6 * second


def _whistle(factor: float, random: Random) -> Wave:
    """A referee's whistle: the pea interrupts the tone some thirty times a second."""
    times = _clock(0.26)
    trill = np.sin(2 * np.pi * 31 * times + random.uniform(0, 6.28))
    tone = _swept(1900 * factor * (1 + 0.035 * trill), (1.0, 0.2, 0.08))
    breath = 0.22 * _band(times.size, 1900 * factor, 0.35, random)
    swell = np.minimum(times / 0.012, 1) * np.minimum((times[-1] - times) / 0.03, 1)
    return (tone * (0.65 + 0.35 * trill) + breath) * swell


def _door(factor: float, random: Random) -> Wave:
    """Three knocks, the last the strongest but one: knuckles on a panel."""
    times = _clock(0.085)
    panel = [(150, 1.0, 0.022), (287, 0.9, 0.018), (433, 0.6, 0.014), (690, 0.4, 0.009)]
    knuckle = 0.5 * _band(times.size, 1100 * factor, 0.9, random) * np.exp(-times / 0.004)
    knock = _modes(times, [(f * factor, a, d) for f, a, d in panel]) + knuckle
    knock *= np.minimum(times / 0.001, 1)
    return np.concatenate([knock, 0.75 * knock, 0.9 * knock])


def _string(factor: float, random: Random) -> Wave:
    """A plucked string (Karplus and Strong, 1983, Computer Music Journal 7(2), eq. 1)."""
    length = round(RATE / (220 * factor))
    turn = random.uniform(-1, 1, length)
    turn -= turn.mean()
    # A soft finger: the same share of the harmonics at every pitch.
    finger = np.exp(-np.arange(length // 2 + 1) / 7.0)
    turn = np.fft.irfft(np.fft.rfft(turn) * finger, length)
    turn -= np.roll(turn, length // 5)  # plucked at a fifth of its length
    turns = np.empty((round(1.3 * RATE) // length, length))
    # High strings make more turns a second: without a power of the loss they would die at once.
    kept = 0.5 ** (length / (0.25 * RATE))
    for k in range(len(turns)):
        turns[k] = turn
        turn = 0.5 * kept * (turn + np.roll(turn, 1))
    return turns.reshape(-1)


def _telephone(factor: float, random: Random) -> Wave:
    """An electronic ringer: two tones in turn, twenty-five changes a second."""
    times = _clock(0.24)
    which = np.floor(times * 25) % 2
    tone = _swept(820 * factor * np.where(which == 0, 1.0, 1.26), (1.0, 0.0, 0.45, 0.0, 0.25))
    swell = np.minimum(times / 0.004, 1) * np.minimum((times[-1] - times) / 0.02, 1)
    return tone * swell * random.uniform(0.95, 1.0)


def _car(factor: float, since: Wave, period: float, random: Random) -> Wave:
    """An engine that is revved at each stroke."""
    rev = np.minimum(since / 0.008, 1) * np.exp(-since / min(0.28, period / 2.5))
    wobble = 1 + 0.015 * np.sin(2 * np.pi * 5.5 * np.arange(SAMPLES) / RATE)
    engine = 62 * factor * (1 + 0.6 * rev) * wobble
    # Strong even orders: four cylinders fire twice a turn.
    harmonics = [(1.0 if k % 2 else 0.55) / (k + 1) ** 0.6 for k in range(28)]
    exhaust = _swept(engine, harmonics) / 3
    rumble = 0.35 * _band(SAMPLES, 110 * factor, 0.8, random)
    return (exhaust + rumble) * (0.22 + 0.78 * rev)


def _siren(factor: float, since: Wave, period: float, random: Random) -> Wave:
    """A whoop: from each stroke the tone climbs by an octave."""
    climb = 560 * factor * 2 ** (since / period)
    tone = _swept(climb, (1.0, 0.5, 0.35, 0.2, 0.1))
    swell = np.minimum(since / 0.006, 1) * (1 - 0.7 * since / period)
    return tone * swell + 0.01 * _band(SAMPLES, 560 * factor, 1.0, random)


def _cloud(factor: float, since: Wave, period: float, random: Random) -> Wave:
    """Rain in gusts, with single drops in front."""
    gust = 0.22 + 0.78 * np.minimum(since / 0.008, 1) * np.exp(-since / min(0.35, period / 2.5))
    rain = _band(SAMPLES, 2400 * factor, 1.0, random)
    drops = np.zeros(SAMPLES)
    fallen = np.flatnonzero(random.random(SAMPLES) < 70 / RATE * gust)
    plink = _modes(_clock(0.015), [(3300 * factor, 1.0, 0.003)])
    for first in fallen[fallen < SAMPLES - plink.size]:
        drops[first : first + plink.size] += plink
    return rain * gust + 1.2 * drops


_GRAINS: dict[Thing, Callable[[float, Random], Wave]] = {
    "bell": _bell,
    "drum": _drum,
    "ball": _ball,
    "bird": _bird,
    "clock": _clock_tick,
    "whistle": _whistle,
    "door": _door,
    "string": _string,
    "telephone": _telephone,
}
_LASTING: dict[Thing, Callable[[float, Wave, float, Random], Wave]] = {
    "car": _car,
    "siren": _siren,
    "cloud": _cloud,
}

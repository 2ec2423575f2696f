"""Sends a clip through the candidate's encoder, then its decoder, and measures both ends of what came out."""

import json

import numpy as np

from coroner_task import task

# What a container needs to say where a frame ends, so that nothing can be told for free by the length of a frame.
FRAME_OVERHEAD = 4
# As is usual, a frame that came back without any loss counts as this many decibels.
LOSSLESS_DB = 99.0
# Y, Cb and Cr from RGB (BT.601, full range), and how much of the error counts for each.
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)
WEIGHTS = (6 / 8, 1 / 8, 1 / 8)


def ycc(frame):
    """Luma and the two chromas."""
    return np.tensordot(frame.astype(np.float32), TO_YCC.T, axes=1)


def squared_error(original, decoded):
    """The mean squared error of a frame, luma six times as heavy as each chroma."""
    difference = ycc(original) - ycc(decoded)
    return float(np.dot(WEIGHTS, np.mean(difference.astype(np.float64) ** 2, axis=(0, 1))))


def decibels(error):
    """Mean squared error as peak signal-to-noise ratio."""
    return LOSSLESS_DB if error <= 0 else min(LOSSLESS_DB, 10 * float(np.log10(255**2 / error)))


def box(image, size):
    """Means over all windows of `size` by `size`."""
    sums = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return (sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2


def ssim(original, decoded, size=8):
    """Structural similarity of the lumas, mean over windows of 8 by 8 (Wang, Bovik, Sheikh and Simoncelli 2004)."""
    a, b = (ycc(frame)[:, :, 0].astype(np.float64) for frame in (original, decoded))
    mean_a, mean_b = box(a, size), box(b, size)
    unbiased = size**2 / (size**2 - 1)
    var_a = (box(a * a, size) - mean_a**2) * unbiased
    var_b = (box(b * b, size) - mean_b**2) * unbiased
    both = (box(a * b, size) - mean_a * mean_b) * unbiased
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    quality = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(quality.mean())


def evaluate(candidate, inputs):
    """The metrics of one candidate on one clip."""
    frames = np.load(inputs / "frames.npy", allow_pickle=False)
    about = json.loads((inputs / "clip.json").read_text())
    count, height, width, _ = frames.shape

    def config():
        # a new one for every call: nothing can be left in it for later
        return {"height": height, "width": width, "frames": count, "fps": about["fps"]}

    coded = []
    for index in range(count):
        data = candidate.compress_video_frame(frames[index].copy(), index, config())
        if not isinstance(data, bytes):
            raise task.Invalid(f"compress_video_frame returned {type(data).__name__} for frame {index} instead of bytes")
        coded.append(data)
        task.progress(index + 1, 2 * count)

    errors, likeness = [], []
    for index in range(count):
        frame = candidate.decompress_video_frame(coded[index], index, config())
        if not isinstance(frame, np.ndarray):
            raise task.Invalid(f"decompress_video_frame returned {type(frame).__name__} for frame {index} instead of an array")
        if frame.shape != (height, width, 3):
            raise task.Invalid(f"frame {index} decoded to the shape {frame.shape} instead of {(height, width, 3)}")
        if frame.dtype != np.uint8:
            raise task.Invalid(f"frame {index} decoded to {frame.dtype} instead of uint8")
        errors.append(squared_error(frames[index], frame))
        likeness.append(ssim(frames[index], frame))
        task.progress(count + index + 1, 2 * count)

    size = sum(len(data) + FRAME_OVERHEAD for data in coded)
    metrics = {
        "bitrate_mbps": size * 8 * about["fps"] / count / 1e6,
        "psnr_db": decibels(sum(errors) / count),
        "worst_psnr_db": decibels(max(errors)),
        "ssim": sum(likeness) / count,
    }
    hevc = about.get("hevc")
    if hevc:
        times = metrics["bitrate_mbps"] / hevc["bitrate_mbps"]
        task.note(
            f"{times:.2f} times the bitrate of HEVC ({hevc['encoder']}: {hevc['bitrate_mbps']:.4f} Mbps at "
            f"{hevc['psnr_db']:.2f} dB, SSIM {hevc['ssim']:.4f}) on {about['source']}"
        )
    else:
        task.note(f"not compared with HEVC; the frames are {about['source']}")
    return metrics

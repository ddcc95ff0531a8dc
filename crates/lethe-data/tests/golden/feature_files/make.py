"""Files of features for a diagnosis as NumPy and safetensors write them, byte for byte, and the arrays they hold.

    python make.py case.safetensors        (numpy 2.4.6, safetensors 0.8.0)
"""

import io
import json
import struct
import sys

import numpy as np
from safetensors.numpy import save, save_file

q, n = 3, 5
stages = {"stem": 4, "block2": 6, "block10": 6}  # another order than that of the alphabet
random = np.random.default_rng(0)
case, features = {}, {}
for side in ["train", "unseen"]:
    for stage, d in stages.items():
        features[f"{side}.views.{stage}"] = random.normal(size=(q, n, d)).astype("f4")
    features[f"{side}.plain.stem"] = random.normal(size=(n, stages["stem"])).astype("f4")
labels = {"train.labels": np.array([0, 1, 1, 0, 2]), "unseen.labels": np.array([2, 0, 1, 1, 0])}
names = {f"{side}.names": [f"{side}/größe {i}.jpg" for i in range(n)] for side in ["train", "unseen"]}
digests = {f"{side}.digests": [f"{i:02x}{side}" for i in range(n)] for side in ["train", "unseen"]}
for name, values in features.items():
    case[f"expected {name}"] = values.astype("f8")
canaries = random.normal(size=(q, n, 4)).astype("f4")
case["expected canaries.views.stem"] = canaries.astype("f8")


def put(name, content):
    case[name] = np.frombuffer(content, np.uint8)


def npz(name, arrays, how=np.savez):
    out = io.BytesIO()
    how(out, **arrays)
    put(name, out.getvalue())


def npy(name, array):
    out = io.BytesIO()
    np.save(out, array)
    put(name, out.getvalue())


def safetensors(name, arrays, metadata):
    """As safetensors writes them, but for the order of the metadata, which is another one in every run there."""
    content = save(arrays)
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.dumps({"__metadata__": metadata} | json.loads(content[8:end])).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    put(name, struct.pack("<Q", len(header)) + header + content[end:])


texts = {name: np.array(values) for name, values in (names | digests).items()}
known = {"epoch": np.array(200), "stages": np.array(list(stages)), "random_split": np.array(True)}
npz("blocks stored.npz", features | labels | texts | known)
npz("blocks deflated.npz", features | labels | texts | known, np.savez_compressed)
# Every array in another type or order than the one before; texts as bytes, the rest as numbers in one dimension.
exact = {name: np.round(values.astype("f8") * 8) / 8 for name, values in features.items()}
for name, values in exact.items():
    case[f"exact {name}"] = values
types = ["<f2", ">f4", "<f8", ">f8", "<f4", ">f2", "<f4", "<f8"]
mixed = {name: values.astype(kind) for (name, values), kind in zip(exact.items(), types)}
mixed = {name: np.asfortranarray(values) if i % 2 else values for i, (name, values) in enumerate(mixed.items())}
narrow = {name: values.astype(">i2") for name, values in labels.items()}
encoded = {name: np.array([text.encode() for text in values]) for name, values in (names | digests).items()}
plain = {"epoch": np.array([7], "u1"), "stages": np.array(json.dumps(list(stages))), "random_split": np.array([1])}
npz("blocks mixed.npz", mixed | narrow | encoded | plain)
lists = {name: json.dumps(values) for name, values in (names | digests).items()}
metadata = lists | {"epoch": "200", "stages": json.dumps(list(stages)), "random_split": "True"}
safetensors("blocks.safetensors", features | labels, metadata)
put("nothing said.safetensors", save(features))
npz("canaries.npz", {"canaries.views.stem": canaries})
safetensors("canaries.safetensors", {"canaries.views.stem": canaries}, {"epoch": "3"})

# bfloat16, which NumPy does not have: the upper half of a float32.
data, header = b"", {}
for name, values in exact.items():
    values = values.astype("<f4").view("<u4") >> 16
    content = values.astype("<u2").tobytes()
    header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [len(data), len(data) + len(content)]}
    data += content
header = json.dumps(header).encode()
put("bf16.safetensors", struct.pack("<Q", len(header)) + header + data)

views = features["train.views.stem"]
npy("views.npy", views)
npy("rows.npy", views.transpose(1, 0, 2).reshape(n * q, -1))  # an image after another
npz("views.npz", {"views": views, "labels": labels["train.labels"]})
npz("matrix.npz", {"features": features["train.plain.stem"], "labels": labels["train.labels"]})
npz("objects.npz", features | {"train.names": np.array(names["train.names"], dtype=object)})
npz("two dimensions.npz", features | {"unseen.views.stem": features["unseen.plain.stem"]})
npz("integers.npz", features | {"unseen.views.stem": np.ones((q, n, 4), int)})

# What Lethe writes: its tuple of sizes ends in a comma. NumPy reads it.
rows = np.arange(-12, 12).reshape(6, 4) / 8
for name, shape, array in [("written.npy", "(6, 4, )", rows.astype("<f4")), ("written.labels.npy", "(6, )", np.arange(6))]:
    text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(128 - 10 - 1) + "\n"
    content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + array.tobytes()
    assert np.array_equal(np.load(io.BytesIO(content)), array), name
    put(name, content)
save_file(case, sys.argv[1])

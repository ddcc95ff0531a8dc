"""Files of features and labels as NumPy and safetensors write them, byte for byte, and the matrix they hold.

    python make.py case.safetensors        (numpy 2.4.6, safetensors 0.8.0, torch 2.11.0)
"""

import io
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save

matrix = np.arange(-12, 12).reshape(6, 4) / 8  # exact in every float format
labels = np.array([0, 3, 3, 0, 1, 117])


def npy(array, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return np.frombuffer(out.getvalue(), np.uint8)


def torch_file(dtype):
    tensors = {"features": torch.tensor(matrix, dtype=dtype), "labels": torch.tensor(labels), "step": torch.tensor(3)}
    return np.frombuffer(save(tensors), np.uint8)


case = {"matrix": matrix, "labels": labels}
for dtype in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]:
    case[f"matrix_{dtype}.npy"] = npy(matrix.astype(dtype))
case["matrix_fortran.npy"] = npy(np.asfortranarray(matrix.astype("<f4")))
case["matrix_version_2.npy"] = npy(matrix, (2, 0))
case["matrix_version_3.npy"] = npy(matrix, (3, 0))
for dtype in ["|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", ">i2", ">i4", ">i8"]:
    case[f"labels_{dtype}.npy"] = npy(labels.astype(dtype))
for dtype in [torch.float16, torch.bfloat16, torch.float32, torch.float64]:
    case[f"features_{dtype}.safetensors"] = torch_file(dtype)
case["broken_negative.npy"] = npy(labels - 1)
case["broken_float_labels.npy"] = npy(labels.astype("<f4"))
case["broken_complex.npy"] = npy(matrix.astype("<c8"))
case["broken_one_dimension.npy"] = npy(matrix.ravel())
case["broken_records.npy"] = npy(np.zeros(3, [("x", "<f4"), ("y", "<f4")]))
save_file(case, sys.argv[1])

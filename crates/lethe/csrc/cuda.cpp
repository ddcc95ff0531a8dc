// How a GPU computes, memory that it copies from without waiting, and such copies.

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include "guarded.h"

// Uninitialised f32 of the CPU, pinned or not.
extern "C" at::Tensor* lethe_staging(const int64_t* shape, int64_t dims, bool pinned, char** error) {
    return guarded(error, [&] {
        return at::empty(at::IntArrayRef(shape, dims), at::TensorOptions().dtype(at::kFloat).pinned_memory(pinned));
    });
}

// The copy is queued behind what the GPU has to do; the pinned memory is not used anew before it is done.
extern "C" at::Tensor* lethe_upload(const at::Tensor* t, int64_t gpu, char** error) {
    return guarded(error, [&] {
        const auto pinned = t->is_pinned() ? *t : t->pin_memory();
        return pinned.to(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)), t->scalar_type(), /*non_blocking=*/true);
    });
}

// Convolutions whose sums come in one order: all that two trainings of any method differed by (docs/decisions/0012).
extern "C" void lethe_deterministic() { at::globalContext().setDeterministicCuDNN(true); }

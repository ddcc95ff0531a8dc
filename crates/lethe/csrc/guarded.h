#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <exception>

// Runs `make` for a caller without exceptions: null and a message in `error` (freed by lethe_free) where it throws.
template <typename F>
at::Tensor* guarded(char** error, F make) {
    try {
        return new at::Tensor(make());
    } catch (const std::exception& e) {
        *error = strdup(e.what());
        return nullptr;
    }
}

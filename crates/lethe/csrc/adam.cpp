// One step of Adam or AdamW by libtorch's fused kernel: one pass over the memory where operators one after the other make
// eight. It wants every tensor of a parameter laid out alike.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "guarded.h"

using at::Tensor;

namespace {

// In the memory layout of `like`.
Tensor laid_out_as(const Tensor& t, const Tensor& like) {
    return t.strides() == like.strides() ? t : at::empty_like(like).copy_(t);
}

}  // namespace

// `n` parameters with their gradients and moments, all changed in place but the gradients; `step` [] of f32, on their device,
// counts from 1. Gives the count back, or null with a message.
extern "C" Tensor* lethe_adam(int64_t n, Tensor* const* parameters, Tensor* const* gradients, Tensor* const* first,
                              Tensor* const* second, const Tensor* step, double lr, double beta1, double beta2,
                              double weight_decay, double eps, bool decoupled, char** error) {
    return guarded(error, [&] {
        at::NoGradGuard no_grad;
        std::vector<Tensor> p, g, m, v, steps;
        for (int64_t i = 0; i < n; i++) {
            p.push_back(*parameters[i]);
            g.push_back(laid_out_as(*gradients[i], p.back()));
            m.push_back(*first[i]);
            v.push_back(*second[i]);
            TORCH_CHECK(m.back().strides() == p.back().strides() && v.back().strides() == p.back().strides(),
                        "a moment is laid out otherwise than its parameter");
            steps.push_back(*step);
        }
        if (decoupled) {
            at::_fused_adamw_(p, g, m, v, {}, steps, lr, beta1, beta2, weight_decay, eps, false, false);
        } else {
            at::_fused_adam_(p, g, m, v, {}, steps, lr, beta1, beta2, weight_decay, eps, false, false);
        }
        return *step;
    });
}

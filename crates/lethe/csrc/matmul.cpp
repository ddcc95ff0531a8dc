// Products of matrices by oneDNN. libtorch takes MKL for float32 on the CPU, which on AMD's processors stays with AVX2;
// oneDNN, which libtorch brings along for its convolutions, takes AVX-512 wherever it is. Measured in docs/decisions/0010.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include "guarded.h"

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;
using Linear = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, c10::string_view, Scalars,
                      std::optional<c10::string_view>);

// oneDNN's inner product for dense tensors; libtorch has it for its compiler. Not in every build.
const std::optional<c10::TypedOperatorHandle<Linear>>& onednn_linear() {
    static const auto found = []() -> std::optional<c10::TypedOperatorHandle<Linear>> {
        const auto schema = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
        if (!schema || !schema->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
        return schema->typed<Linear>();
    }();
    return found;
}

// Below it a call costs more than the product.
constexpr int64_t LEAST_PRODUCTS = 1 << 15;

bool is_worth_it(const Tensor& a, const Tensor& b) {
    return a.is_cpu() && a.scalar_type() == at::kFloat && b.scalar_type() == at::kFloat &&
           a.size(0) * a.size(1) * b.size(0) >= LEAST_PRODUCTS && onednn_linear();
}

// Rows or columns one after the other: what oneDNN takes as it is.
Tensor dense(const Tensor& t) {
    return t.is_contiguous() || t.t().is_contiguous() ? t : t.contiguous();
}

// a b', [n, k] by [m, k].
Tensor product(const Tensor& a, const Tensor& b) {
    if (!is_worth_it(a, b)) return at::matmul(a, b.t());
    return onednn_linear()->call(dense(a), dense(b), std::nullopt, "none", Scalars(), std::nullopt);
}

// Its gradients are products of the same kind, so it can be differentiated any number of times.
struct Product : Function<Product> {
    static Tensor forward(AutogradContext* ctx, Tensor a, Tensor b) {
        ctx->save_for_backward({a, b});
        return product(a, b);
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const auto &a = saved[0], &b = saved[1], &dy = grads[0];
        const auto da = ctx->needs_input_grad(0) ? Product::apply(dy, b.t()) : Tensor();
        const auto db = ctx->needs_input_grad(1) ? Product::apply(dy.t(), a.t()) : Tensor();
        return {da, db};
    }
};

}  // namespace

extern "C" Tensor* lethe_matmul(const Tensor* a, const Tensor* b, char** error) {
    return guarded(error, [&] { return Product::apply(*a, b->t()); });
}

extern "C" void lethe_free(char* message) { free(message); }

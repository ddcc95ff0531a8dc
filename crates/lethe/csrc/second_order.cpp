// Convolution and batch-norm whose second derivatives cost little more than their first: same forward and backward
// kernels as libtorch's own, another double backward. libtorch writes batch-norm's as some 25 passes over each map (here
// two), and takes a convolution's weight gradient by a convolution with a kernel as large as the map (here by the kernel
// of the backward pass). Measured in docs/decisions/0003. And layer-norm, for its third derivative.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "guarded.h"

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EVERY_CPU
#endif

namespace {

// A function of autograd must neither take nor return undefined tensors.
using Optional = std::optional<Tensor>;

Optional if_defined(const Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; }

variable_list only_defined(variable_list tensors) {
    std::erase_if(tensors, [](const Tensor& tensor) { return !tensor.defined(); });
    return tensors;
}

// ---- convolution ----

std::tuple<Tensor, Tensor> convolution_gradients(
    const Tensor& dy, const Tensor& x, const Tensor& w, int64_t stride, int64_t padding, bool of_x, bool of_w) {
    auto [dx, dw, none] = at::convolution_backward(
        dy, x, w, std::nullopt, {stride, stride}, {padding, padding}, {1, 1}, false, {0, 0}, 1, {of_x, of_w, false});
    return {dx, dw};
}

Tensor convolution(const Tensor& x, const Tensor& w, int64_t stride, int64_t padding) {
    return at::convolution(x, w, {}, {stride, stride}, {padding, padding}, {1, 1}, false, {0, 0}, 1);
}

struct ConvolutionBackward : Function<ConvolutionBackward> {
    static variable_list forward(
        AutogradContext* ctx, Tensor dy, Tensor x, Tensor w, int64_t stride, int64_t padding, bool of_x, bool of_w) {
        ctx->save_for_backward({dy, x, w});
        ctx->saved_data["stride"] = stride;
        ctx->saved_data["padding"] = padding;
        ctx->saved_data["of_x"] = of_x;
        ctx->set_materialize_grads(false);
        auto [dx, dw] = convolution_gradients(dy, x, w, stride, padding, of_x, of_w);
        return only_defined({dx, dw});
    }

    // Both outputs are bilinear: dx in (dy, w), dw in (dy, x).
    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const auto &dy = saved[0], &x = saved[1], &w = saved[2];
        const auto of_x = ctx->saved_data["of_x"].toBool();
        const auto of_dx = of_x ? grads[0] : Tensor(), of_dw = of_x && grads.size() < 2 ? Tensor() : grads.back();
        const auto stride = ctx->saved_data["stride"].toInt(), padding = ctx->saved_data["padding"].toInt();
        Tensor to_dy, to_x, to_w;
        if (of_dx.defined()) {
            if (ctx->needs_input_grad(0)) to_dy = convolution(of_dx, w, stride, padding);
            if (ctx->needs_input_grad(2))
                to_w = std::get<1>(convolution_gradients(dy, of_dx, w, stride, padding, false, true));
        }
        if (of_dw.defined()) {
            if (ctx->needs_input_grad(0)) {
                const auto part = convolution(x, of_dw, stride, padding);
                to_dy = to_dy.defined() ? to_dy + part : part;
            }
            if (ctx->needs_input_grad(1))
                to_x = std::get<0>(convolution_gradients(dy, x, of_dw, stride, padding, true, false));
        }
        return {to_dy, to_x, to_w, {}, {}, {}, {}};
    }
};

struct Convolution : Function<Convolution> {
    static Tensor forward(AutogradContext* ctx, Tensor x, Tensor w, int64_t stride, int64_t padding) {
        ctx->save_for_backward({x, w});
        ctx->saved_data["stride"] = stride;
        ctx->saved_data["padding"] = padding;
        return convolution(x, w, stride, padding);
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        const bool of_x = ctx->needs_input_grad(0), of_w = ctx->needs_input_grad(1);
        const auto gradients = ConvolutionBackward::apply(grads[0], saved[0], saved[1], ctx->saved_data["stride"].toInt(),
                                                          ctx->saved_data["padding"].toInt(), of_x, of_w);
        return {of_x ? gradients.front() : Tensor(), of_w ? gradients.back() : Tensor(), {}, {}};
    }
};

// ---- batch-norm ----

// A map as [outer, channels, inner] in memory: inner is 1 for rows [n, d] and channels-last maps.
struct Layout {
    int64_t outer, channels, inner;
};

// Sums of each channel, in the order of `sums`: dy, dy xhat, u, u xhat, u dy.
constexpr int64_t SUMS = 5;
// Rows added in the type of the map before they go over to double.
constexpr int64_t ROWS = 64;

template <typename T>
inline __attribute__((always_inline)) void sum_rows(
    const T* dy, const T* u, const T* x, const T* mean, const T* r, int64_t channels, int64_t from, int64_t to,
    T* few, double* sums) {
    for (int64_t start = from; start < to; start += ROWS) {
        std::memset(few, 0, SUMS * channels * sizeof(T));
        const int64_t end = std::min(start + ROWS, to);
        for (int64_t row = start; row < end; ++row) {
            const int64_t at = row * channels;
            for (int64_t c = 0; c < channels; ++c) {
                const T d = dy[at + c], v = u[at + c], xhat = (x[at + c] - mean[c]) * r[c];
                few[c] += d;
                few[channels + c] += d * xhat;
                few[2 * channels + c] += v;
                few[3 * channels + c] += v * xhat;
                few[4 * channels + c] += v * d;
            }
        }
        for (int64_t k = 0; k < SUMS * channels; ++k) sums[k] += few[k];
    }
}

template <typename T>
inline __attribute__((always_inline)) void sum_plane(
    const T* dy, const T* u, const T* x, T mean, T r, int64_t inner, double* sums) {
    // Sixteen lanes, so that the compiler may add in parallel.
    constexpr int64_t LANES = 16;
    T few[SUMS][LANES] = {};
    int64_t i = 0;
    for (; i + LANES <= inner; i += LANES) {
        for (int64_t lane = 0; lane < LANES; ++lane) {
            const T d = dy[i + lane], v = u[i + lane], xhat = (x[i + lane] - mean) * r;
            few[0][lane] += d;
            few[1][lane] += d * xhat;
            few[2][lane] += v;
            few[3][lane] += v * xhat;
            few[4][lane] += v * d;
        }
    }
    for (; i < inner; ++i) {
        const T d = dy[i], v = u[i], xhat = (x[i] - mean) * r;
        const T terms[SUMS] = {d, d * xhat, v, v * xhat, v * d};
        for (int64_t k = 0; k < SUMS; ++k) few[k][0] += terms[k];
    }
    for (int64_t k = 0; k < SUMS; ++k)
        for (int64_t lane = 0; lane < LANES; ++lane) sums[k] += few[k][lane];
}

// With seven coefficients k a channel: to_dy = k0 u + k1 xhat + k2 and to_x = k3 dy + k4 u + k5 xhat + k6.
template <typename T>
inline __attribute__((always_inline)) void combine_rows(
    const T* dy, const T* u, const T* x, const T* mean, const T* r, const T* k, int64_t channels, int64_t from,
    int64_t to, T* to_dy, T* to_x) {
    for (int64_t row = from; row < to; ++row) {
        const int64_t at = row * channels;
        for (int64_t c = 0; c < channels; ++c) {
            const T v = u[at + c], xhat = (x[at + c] - mean[c]) * r[c];
            to_dy[at + c] = k[c] * v + k[channels + c] * xhat + k[2 * channels + c];
            to_x[at + c] = k[3 * channels + c] * dy[at + c] + k[4 * channels + c] * v + k[5 * channels + c] * xhat +
                           k[6 * channels + c];
        }
    }
}

template <typename T>
inline __attribute__((always_inline)) void combine_plane(
    const T* dy, const T* u, const T* x, T mean, T r, const T* k, int64_t channels, int64_t inner, T* to_dy, T* to_x) {
    for (int64_t i = 0; i < inner; ++i) {
        const T v = u[i], xhat = (x[i] - mean) * r;
        to_dy[i] = k[0] * v + k[channels] * xhat + k[2 * channels];
        to_x[i] = k[3 * channels] * dy[i] + k[4 * channels] * v + k[5 * channels] * xhat + k[6 * channels];
    }
}

#define KERNELS(T)                                                                                                     \
    FOR_EVERY_CPU void sum_of_rows(const T* dy, const T* u, const T* x, const T* mean, const T* r, int64_t channels,   \
                                   int64_t from, int64_t to, T* few, double* sums) {                                   \
        sum_rows(dy, u, x, mean, r, channels, from, to, few, sums);                                                    \
    }                                                                                                                  \
    FOR_EVERY_CPU void sum_of_plane(const T* dy, const T* u, const T* x, T mean, T r, int64_t inner, double* sums) {   \
        sum_plane(dy, u, x, mean, r, inner, sums);                                                                     \
    }                                                                                                                  \
    FOR_EVERY_CPU void combine_of_rows(const T* dy, const T* u, const T* x, const T* mean, const T* r, const T* k,     \
                                       int64_t channels, int64_t from, int64_t to, T* to_dy, T* to_x) {                \
        combine_rows(dy, u, x, mean, r, k, channels, from, to, to_dy, to_x);                                           \
    }                                                                                                                  \
    FOR_EVERY_CPU void combine_of_plane(const T* dy, const T* u, const T* x, T mean, T r, const T* k,                  \
                                        int64_t channels, int64_t inner, T* to_dy, T* to_x) {                          \
        combine_plane(dy, u, x, mean, r, k, channels, inner, to_dy, to_x);                                             \
    }
KERNELS(float)
KERNELS(double)

template <typename T>
Tensor sums_on_cpu(const Tensor& dy, const Tensor& u, const Tensor& x, const Tensor& mean, const Tensor& r, Layout l) {
    const T *dyp = dy.const_data_ptr<T>(), *up = u.const_data_ptr<T>(), *xp = x.const_data_ptr<T>();
    const T *mp = mean.const_data_ptr<T>(), *rp = r.const_data_ptr<T>();
    if (l.inner == 1) {
        const int64_t parts = std::min<int64_t>(at::get_num_threads(), l.outer);
        auto sums = at::zeros({parts, SUMS, l.channels}, at::kDouble);
        auto* out = sums.mutable_data_ptr<double>();
        at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
            std::vector<T> few(SUMS * l.channels);
            for (int64_t part = begin; part < end; ++part)
                sum_of_rows(dyp, up, xp, mp, rp, l.channels, l.outer * part / parts, l.outer * (part + 1) / parts,
                            few.data(), out + part * SUMS * l.channels);
        });
        return sums.sum(0);
    }
    auto sums = at::zeros({l.channels, SUMS}, at::kDouble);
    auto* out = sums.mutable_data_ptr<double>();
    at::parallel_for(0, l.channels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t n = 0; n < l.outer; ++n)
            for (int64_t c = begin; c < end; ++c) {
                const int64_t at = (n * l.channels + c) * l.inner;
                sum_of_plane(dyp + at, up + at, xp + at, mp[c], rp[c], l.inner, out + c * SUMS);
            }
    });
    return sums.t();
}

template <typename T>
void combine_on_cpu(const Tensor& dy, const Tensor& u, const Tensor& x, const Tensor& mean, const Tensor& r,
                    const Tensor& coefficients, Layout l, Tensor& to_dy, Tensor& to_x) {
    const T *dyp = dy.const_data_ptr<T>(), *up = u.const_data_ptr<T>(), *xp = x.const_data_ptr<T>();
    const T *mp = mean.const_data_ptr<T>(), *rp = r.const_data_ptr<T>(), *k = coefficients.const_data_ptr<T>();
    T *dyo = to_dy.mutable_data_ptr<T>(), *xo = to_x.mutable_data_ptr<T>();
    at::parallel_for(0, l.outer, std::max<int64_t>(1, 32768 / (l.channels * l.inner)), [&](int64_t begin, int64_t end) {
        if (l.inner == 1) {
            combine_of_rows(dyp, up, xp, mp, rp, k, l.channels, begin, end, dyo, xo);
            return;
        }
        for (int64_t n = begin; n < end; ++n)
            for (int64_t c = 0; c < l.channels; ++c) {
                const int64_t at = (n * l.channels + c) * l.inner;
                combine_of_plane(dyp + at, up + at, xp + at, mp[c], rp[c], k + c, l.channels, l.inner, dyo + at,
                                 xo + at);
            }
    });
}

// With xhat = (x - mean) r, r = 1 / sqrt(var + eps) and n values a channel, the backward pass is
//   dx = weight r (dy - sum(dy) / n - xhat sum(dy xhat) / n),  dweight = sum(dy xhat),  dbias = sum(dy).
// Its gradients for u, uw and ub, the gradients that reach dx, dweight and dbias:
//   K = sum(u dy) - sum(dy) sum(u) / n - sum(dy xhat) sum(u xhat) / n
//   to_weight = r K
//   to_dy = weight r (u - sum(u) / n - xhat sum(u xhat) / n) + uw xhat + ub
//   to_x  = -weight r^2 / n (dy sum(u xhat) + u sum(dy xhat) - (sum(dy) sum(u xhat) + sum(dy xhat) sum(u)) / n
//                            + xhat (K - 2 sum(dy xhat) sum(u xhat) / n))
//           + uw r (dy - sum(dy) / n - xhat sum(dy xhat) / n)
variable_list batch_norm_double_backward(Tensor u, const Tensor& uw, const Tensor& ub, Tensor dy, Tensor x,
                                         const Tensor& weight, const Tensor& mean, const Tensor& r) {
    const auto format = x.dim() == 4 ? x.suggest_memory_format() : at::MemoryFormat::Contiguous;
    x = x.contiguous(format);
    dy = dy.contiguous(format);
    u = u.defined() ? u.contiguous(format) : at::zeros_like(x);
    const int64_t channels = x.size(1), n = x.numel() / channels;
    const bool rows = x.dim() == 2 || format == at::MemoryFormat::ChannelsLast;
    const Layout layout = rows ? Layout{n, channels, 1} : Layout{x.size(0), channels, n / x.size(0)};
    const auto type = x.scalar_type();
    const bool on_cpu = x.is_cpu() && (type == at::kFloat || type == at::kDouble) && dy.scalar_type() == type &&
                        u.scalar_type() == type && mean.scalar_type() == type;

    // Else by ATen's operators, in at least f32.
    const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
    std::vector<int64_t> shape(x.dim(), 1);
    shape[1] = channels;
    Tensor xhat, wide_dy, wide_u, sums;
    if (on_cpu) {
        sums = type == at::kFloat ? sums_on_cpu<float>(dy, u, x, mean, r, layout)
                                  : sums_on_cpu<double>(dy, u, x, mean, r, layout);
    } else {
        wide_dy = dy.to(wide);
        wide_u = u.to(wide);
        xhat = (x.to(wide) - mean.to(wide).view(shape)) * r.to(wide).view(shape);
        std::vector<int64_t> all;
        for (int64_t d = 0; d < x.dim(); ++d)
            if (d != 1) all.push_back(d);
        sums = at::stack({wide_dy.sum(all), (wide_dy * xhat).sum(all), wide_u.sum(all), (wide_u * xhat).sum(all),
                          (wide_u * wide_dy).sum(all)});
    }
    const auto a = sums[0], b = sums[1], s1 = sums[2], s2 = sums[3], s3 = sums[4];
    const double m = static_cast<double>(n);
    const auto rd = r.to(sums.scalar_type());
    const auto gamma = weight.defined() ? weight.to(sums.scalar_type()) : at::ones_like(rd);
    const auto k = s3 - a * s1 / m - b * s2 / m;
    const auto first = gamma * rd, second = -gamma * rd * rd / m;
    auto c0 = first, c1 = -first * s2 / m, c2 = -first * s1 / m;
    auto c3 = second * s2, c4 = second * b, c5 = second * (k - 2 * b * s2 / m), c6 = -second * (a * s2 + b * s1) / m;
    if (uw.defined()) {
        const auto w = uw.to(sums.scalar_type());
        c1 = c1 + w;
        c3 = c3 + w * rd;
        c5 = c5 - w * rd * b / m;
        c6 = c6 - w * rd * a / m;
    }
    if (ub.defined()) c2 = c2 + ub.to(sums.scalar_type());

    Tensor to_dy, to_x;
    if (on_cpu) {
        const auto coefficients = at::stack({c0, c1, c2, c3, c4, c5, c6}).to(type).contiguous();
        to_dy = at::empty_like(x);
        to_x = at::empty_like(x);
        if (type == at::kFloat) combine_on_cpu<float>(dy, u, x, mean, r, coefficients, layout, to_dy, to_x);
        else combine_on_cpu<double>(dy, u, x, mean, r, coefficients, layout, to_dy, to_x);
    } else {
        const auto of = [&](const Tensor& c) { return c.view(shape); };
        to_dy = (of(c0) * wide_u + of(c1) * xhat + of(c2)).to(type);
        to_x = (of(c3) * wide_dy + of(c4) * wide_u + of(c5) * xhat + of(c6)).to(type);
    }
    return {to_dy, to_x, weight.defined() ? (rd * k).to(weight.scalar_type()) : Tensor()};
}

// The same in operators that are differentiated in turn, all from x: for a third derivative, which is rare.
variable_list batch_norm_double_backward_in_graph(const Tensor& u, const Tensor& uw, const Tensor& ub, const Tensor& dy,
                                                  const Tensor& x, const Tensor& weight, double eps) {
    std::vector<int64_t> shape(x.dim(), 1), all;
    shape[1] = x.size(1);
    for (int64_t d = 0; d < x.dim(); ++d)
        if (d != 1) all.push_back(d);
    const auto sum = [&](const Tensor& map) { return map.sum(all, true); };
    const double n = static_cast<double>(x.numel() / x.size(1));
    const auto centred = x - sum(x) / n;
    const auto r = (sum(centred * centred) / n + eps).rsqrt();
    const auto xhat = centred * r;
    const auto a = sum(dy), b = sum(dy * xhat);
    const auto projected = dy - a / n - xhat * b / n;
    Tensor to_dy = at::zeros_like(x), to_x = at::zeros_like(x), to_weight;
    if (u.defined()) {
        const auto s1 = sum(u), s2 = sum(u * xhat), k = sum(u * dy) - a * s1 / n - b * s2 / n;
        const auto gamma = weight.defined() ? weight.view(shape) : at::ones_like(r);
        to_dy = gamma * r * (u - s1 / n - xhat * s2 / n);
        to_x = -gamma * r * r / n *
               (dy * s2 + u * b - (a * s2 + b * s1) / n + xhat * (k - 2 * b * s2 / n));
        to_weight = (r * k).view(-1);
    }
    if (uw.defined()) {
        to_dy = to_dy + uw.view(shape) * xhat;
        to_x = to_x + uw.view(shape) * r * projected;
    }
    if (ub.defined()) to_dy = to_dy + ub.view(shape);
    return {to_dy, to_x, weight.defined() ? to_weight : Tensor()};
}

// The backward pass in the batch's own statistics.
struct BatchNormBackward : Function<BatchNormBackward> {
    static variable_list forward(AutogradContext* ctx, Tensor dy, Tensor x, Optional weight, Tensor mean, Tensor r,
                                 Optional reserve, int64_t kernel, double eps) {
        ctx->save_for_backward({dy, x, weight.value_or(Tensor()), mean, r});
        ctx->saved_data["eps"] = eps;
        ctx->set_materialize_grads(false);
        auto [dx, dweight, dbias] = at::_batch_norm_impl_index_backward(
            kernel, x, dy, weight, {}, {}, mean, r, true, eps, {true, weight.has_value(), weight.has_value()},
            reserve.value_or(Tensor()));
        // A GPU's kernel gives those of an affine part that is not there.
        if (!weight) return {dx};
        return only_defined({dx, dweight, dbias});
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        grads.resize(3);
        auto to = at::GradMode::is_enabled()
                      ? batch_norm_double_backward_in_graph(grads[0], grads[1], grads[2], saved[0], saved[1], saved[2],
                                                            ctx->saved_data["eps"].toDouble())
                      : batch_norm_double_backward(grads[0], grads[1], grads[2], saved[0], saved[1], saved[2], saved[3],
                                                   saved[4]);
        return {to[0], to[1], to[2], {}, {}, {}, {}, {}};
    }
};

struct BatchNorm : Function<BatchNorm> {
    static Tensor forward(AutogradContext* ctx, Tensor x, Optional weight, Optional bias, Optional running_mean,
                          Optional running_var, double momentum, double eps) {
        auto [y, mean, r, reserve, kernel] =
            at::_batch_norm_impl_index(x, weight, bias, running_mean, running_var, true, momentum, eps, true);
        ctx->save_for_backward({x, weight.value_or(Tensor()), mean, r, reserve});
        ctx->saved_data["kernel"] = kernel;
        ctx->saved_data["eps"] = eps;
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        auto gradients =
            BatchNormBackward::apply(grads[0], saved[0], if_defined(saved[1]), saved[2], saved[3], if_defined(saved[4]),
                                     ctx->saved_data["kernel"].toInt(), ctx->saved_data["eps"].toDouble());
        gradients.resize(7);
        return gradients;
    }
};

// ---- layer-norm over the last dimension ----

Tensor outer_sum(const Tensor& rows) {
    std::vector<int64_t> all;
    for (int64_t d = 0; d + 1 < rows.dim(); ++d) all.push_back(d);
    return all.empty() ? rows : rows.sum(all);
}

// With xhat = (x - mean) r, r = 1 / sqrt(var + eps), g = weight dy and P(v) = v - mean(v) - xhat mean(v xhat), the backward
// pass is dx = r P(g), dweight = sum(dy xhat), dbias = sum(dy). All from x, in operators that are differentiated in turn:
// libtorch takes mean and r for constants in its third derivative.
variable_list layer_norm_double_backward(const Tensor& u, const Tensor& uw, const Tensor& ub, const Tensor& dy,
                                         const Tensor& x, const Tensor& weight, double eps) {
    const auto mean = [](const Tensor& rows) { return rows.mean(-1, true); };
    const auto centred = x - mean(x);
    const auto r = (mean(centred * centred) + eps).rsqrt();
    const auto xhat = centred * r;
    const auto project = [&](const Tensor& v) { return v - mean(v) - xhat * mean(v * xhat); };
    Tensor to_dy = at::zeros_like(x), to_x = at::zeros_like(x), to_weight;
    if (u.defined()) {
        const auto g = dy * weight, pu = project(u), pg = project(g);
        to_dy = r * pu * weight;
        to_x = -r * r * (xhat * mean(u * pg) + mean(g * xhat) * pu + mean(u * xhat) * pg);
        to_weight = outer_sum(r * pu * dy);
    }
    if (uw.defined()) {
        to_dy = to_dy + uw * xhat;
        to_x = to_x + r * project(uw * dy);
    }
    if (ub.defined()) to_dy = to_dy + ub;
    return {to_dy, to_x, to_weight};
}

struct LayerNormBackward : Function<LayerNormBackward> {
    static variable_list forward(AutogradContext* ctx, Tensor dy, Tensor x, Tensor weight, Tensor bias, Tensor mean,
                                 Tensor r, double eps) {
        ctx->save_for_backward({dy, x, weight});
        ctx->saved_data["eps"] = eps;
        ctx->set_materialize_grads(false);
        auto [dx, dweight, dbias] = at::native_layer_norm_backward(
            dy.contiguous(), x, {x.size(-1)}, mean, r, weight, bias, {true, true, true});
        return {dx, dweight, dbias};
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        auto to = layer_norm_double_backward(grads[0], grads[1], grads[2], saved[0], saved[1], saved[2],
                                             ctx->saved_data["eps"].toDouble());
        return {to[0], to[1], to[2], {}, {}, {}, {}};
    }
};

struct LayerNorm : Function<LayerNorm> {
    static Tensor forward(AutogradContext* ctx, Tensor x, Tensor weight, Tensor bias, double eps) {
        auto [y, mean, r] = at::native_layer_norm(x, {x.size(-1)}, weight, bias, eps);
        ctx->save_for_backward({x, weight, bias, mean, r});
        ctx->saved_data["eps"] = eps;
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const auto saved = ctx->get_saved_variables();
        auto gradients = LayerNormBackward::apply(grads[0], saved[0], saved[1], saved[2], saved[3], saved[4],
                                                  ctx->saved_data["eps"].toDouble());
        gradients.resize(4);
        return gradients;
    }
};

Optional if_there(const Tensor* tensor) { return tensor ? Optional(*tensor) : std::nullopt; }

}  // namespace

extern "C" {

Tensor* lethe_conv2d(const Tensor* x, const Tensor* w, int64_t stride, int64_t padding, char** error) {
    return guarded(error, [&] { return Convolution::apply(*x, *w, stride, padding); });
}

// weight and bias, and the running statistics, may be null.
Tensor* lethe_batch_norm(const Tensor* x, const Tensor* weight, const Tensor* bias, const Tensor* running_mean,
                         const Tensor* running_var, double momentum, double eps, char** error) {
    return guarded(error, [&] {
        return BatchNorm::apply(*x, if_there(weight), if_there(bias), if_there(running_mean),
                                if_there(running_var), momentum, eps);
    });
}

Tensor* lethe_layer_norm(const Tensor* x, const Tensor* weight, const Tensor* bias, double eps, char** error) {
    return guarded(error, [&] { return LayerNorm::apply(x->contiguous(), *weight, *bias, eps); });
}
}

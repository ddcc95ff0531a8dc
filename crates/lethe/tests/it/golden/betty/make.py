"""The DARTS step of Betty, beside which our finite difference has the factor alpha. PyTorch, float64.

    python make.py case.safetensors

https://github.com/leopard-ai/betty/blob/3ede10386a821b003a911e3c763e54ee6bf86ab3/betty/hypergradient/darts.py (MIT):
implicit = (grad L_in(theta - e v) - grad L_in(theta + e v)) / (2e), e = 0.01 / ||v||, added to the direct gradient v
without alpha: the inverse Hessian is taken for the identity. Betty also leaves the weights at theta - e v (its
"reverse weight change" calls `add` where `add_` is meant). `darts` below restates it for one module at both levels, as
UMM's authors use it; where the package betty-ml is installed, its own function is called too and must agree.
"""

import sys
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
x, y = torch.randn(7, 4), torch.randn(7)
parameters = [torch.randn(4, 3, requires_grad=True), torch.randn(3, requires_grad=True)]
vector = [torch.randn(4, 3), torch.randn(3)]


def inner(first, second):
    return ((torch.tanh(x @ first) @ second - y) ** 2).mean() / 2


def darts(parameters, vector):
    e = 0.01 / torch.cat([v.flatten() for v in vector]).norm()
    ends = []
    for sign in (1, -1):
        moved = [(p + sign * e * v).detach().requires_grad_() for p, v in zip(parameters, vector)]
        ends.append(torch.autograd.grad(inner(*moved), moved))
    ahead, behind = ends
    return [(b - a) / (2 * e) for a, b in zip(ahead, behind)]


def of_betty(parameters, vector):
    """What the installed package gives, or nothing where there is none."""
    try:
        from betty.hypergradient.darts import darts as theirs
    except ImportError:
        return None
    copies = [p.detach().clone().requires_grad_() for p in parameters]
    config = SimpleNamespace(darts_alpha=0.01, darts_preconditioned=False)
    problem = SimpleNamespace(config=config, trainable_parameters=lambda: copies, cur_batch=None, _strategy="default")
    problem.training_step_exec = lambda _: inner(*copies)
    return theirs(vector, problem, problem)


implicit = darts(parameters, vector)
theirs = of_betty(parameters, vector)
if theirs is None:
    print("betty-ml is not installed: restated only")
else:
    for mine, its in zip(implicit, theirs):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-12)
    print("agrees with betty-ml")
save_file(
    {
        "x": x,
        "y": y,
        **{f"theta{i}": p.detach() for i, p in enumerate(parameters)},
        **{f"vector{i}": v for i, v in enumerate(vector)},
        **{f"implicit{i}": v for i, v in enumerate(implicit)},
    },
    sys.argv[1],
)

"""Certified bounds of features: linear functions of the pixels, below and above them.

A function of one image is traced, and every intermediate value of it is enclosed, for
all perturbations of the image at once, by two functions that are linear in the
perturbation (forward LiRPA, https://arxiv.org/abs/2002.12920, with the ReLU of CROWN,
https://arxiv.org/abs/1811.00866). Without the linear part these are plain intervals
(https://arxiv.org/abs/1810.12715). Affine functions are enclosed exactly. Every ReLU
that the perturbation can switch loses some, and so bounds become vacuous with depth:
for a few layers at a small radius they say something, for a trained ResNet nothing.

Of JAX's libraries for this, immrax 0.3 has no convolutions, and jax_verify 1.0 does not
run on today's JAX.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal as Constant

from nrf.features.estimate import Extremes
from nrf.models import onednn
from nrf.types import Images, Params

Certificate = Literal["linear", "intervals"]


class _Bounds(NamedTuple):
    """A value is within middle ± half, both linear in the perturbation η, ‖η‖ ≤ 1.

    [1 + P, ...]: a constant, and the coefficients of η [P].
    """

    middle: jax.Array
    half: jax.Array


def certify(
    features: Callable[[Params, Images], jax.Array],
    norm: Literal["l2", "linf"],
    certificate: Certificate,
) -> Callable[[Params, jax.Array, Images], Extremes]:
    """Bounds of features over ‖δ‖ ≤ epsilon: f(params, epsilon, x) -> [B, D] each.

    Sound, in exact arithmetic, for valid pixels within epsilon of x [B, H, W, C]; to
    rounding, in float32. Exact for affine features; for l2 the linear bounds ignore
    that pixels stay in [0, 1], for linf all use it.

    "linear" takes the better of both kinds. Its cost, in time and memory, is that of
    2 (1 + H W C) images for every image; networks for large images may afford no more
    than "intervals", which for l2 are those of the much larger linf ball.

    Raises:
      ValueError: (when called) `features` uses an operation that has no bounds here.
    """
    dual = {"l2": _l2_norm, "linf": _l1_norm}[norm]

    def bounds(params, epsilon, x):
        def one(params, x):
            return features(params, x[None])[0]

        with onednn.paused():
            traced = jax.make_jaxpr(one)(params, x)
        constants = jax.tree.leaves(params)

        def enclose(start):
            (value,) = _run(traced.jaxpr, traced.consts, [*constants, start], dual)
            if not isinstance(value, _Bounds):  # Features that do not look at x.
                return Extremes(value, value)
            return Extremes(*_interval(value, dual))

        low, high = jnp.maximum(x - epsilon, 0), jnp.minimum(x + epsilon, 1)
        middle, half = (low + high) / 2, (high - low) / 2
        extremes = enclose(_Bounds(middle[None], half[None]))
        if certificate == "linear":
            # η is δ / epsilon for l2; for linf it moves each pixel over its interval.
            centre, reach = (x, epsilon) if norm == "l2" else (middle, half)
            eye = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
            moves = eye * (reach if norm == "l2" else reach[None])
            rows = jnp.concatenate([centre[None], moves])
            linear = enclose(_Bounds(rows, jnp.zeros_like(rows)))
            extremes = Extremes(
                jnp.maximum(extremes.least, linear.least),
                jnp.minimum(extremes.most, linear.most),
            )
        return extremes

    return jax.vmap(bounds, (None, None, 0))


def _l1_norm(a):
    return jnp.sum(jnp.abs(a), 0)


def _l2_norm(a):
    return jnp.sqrt(jnp.sum(a**2, 0))


def _interval(v, dual):
    """The least of middle − half and the most of middle + half, over ‖η‖ ≤ 1."""
    low, high = v.middle - v.half, v.middle + v.half
    return low[0] - dual(low[1:]), high[0] + dual(high[1:])


def _run(jaxpr, consts, arguments, dual):
    """Evaluates `jaxpr`; values are arrays where they are known, else `_Bounds`."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Constant) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        name = eqn.primitive.name
        if name in ("jit", "custom_jvp_call", "custom_vjp_call"):
            inner = eqn.params["jaxpr" if name == "jit" else "call_jaxpr"]
            outputs = _run(inner.jaxpr, inner.consts, inputs, dual)
        elif not any(isinstance(v, _Bounds) for v in inputs):
            outputs = eqn.primitive.bind(*inputs, **eqn.params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        else:
            outputs = [_apply(eqn, inputs, dual)]
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


# Linear in all operands together.
_LINEAR = set(
    "add broadcast_in_dim concatenate pad reduce_sum reshape rev slice squeeze "
    "transpose".split()
)
# Linear in one operand when the other is known.
_BILINEAR = {"mul", "div", "dot_general", "conv_general_dilated"}
# Of one operand, and never falling in it.
_RISING = {"exp", "logistic", "reduce_max", "reduce_window_max", "tanh"}


def _apply(eqn, inputs, dual):
    name, params = eqn.primitive.name, dict(eqn.params)
    perturbed = [isinstance(v, _Bounds) for v in inputs]
    rows = len(inputs[perturbed.index(True)].middle)

    def bind(*operands):
        return eqn.primitive.bind(*operands, **params)

    def lift(v):
        if isinstance(v, _Bounds):
            return v
        known = _constant(jnp.asarray(v), rows)
        return _Bounds(known, jnp.zeros_like(known))

    if name == "convert_element_type":
        # Bounds are those of exact arithmetic: narrower floating types keep their own.
        if jnp.issubdtype(params["new_dtype"], jnp.floating):
            return inputs[0]
    elif name in _LINEAR:
        lifted = [lift(v) for v in inputs]
        return _Bounds(*(jax.vmap(bind)(*part) for part in zip(*lifted, strict=True)))
    elif name in _BILINEAR and sum(perturbed) == 1 and (perturbed[0] or name != "div"):
        if "preferred_element_type" in params:
            params["preferred_element_type"] = None
        place = perturbed.index(True)
        bounds = inputs[place]
        weights = jnp.asarray(inputs[1 - place]).astype(bounds.middle.dtype)

        def times(v, w):
            return bind(v, w) if place == 0 else bind(w, v)

        times = jax.vmap(times, (0, None))
        return _Bounds(
            times(bounds.middle, weights), times(bounds.half, jnp.abs(weights))
        )
    elif name == "neg":
        return _negate(inputs[0])
    elif name == "sub":
        return _add(lift(inputs[0]), _negate(lift(inputs[1])))
    elif name == "max":
        a, b = map(lift, inputs)
        return _add(b, _relu(_add(a, _negate(b)), dual))
    elif name in _RISING:
        low, high = (bind(v) for v in _interval(inputs[0], dual))
        return _Bounds(
            _constant((low + high) / 2, rows), _constant((high - low) / 2, rows)
        )
    raise ValueError(
        f"there are no certified bounds of the operation {name!r} here; known are "
        f"{', '.join(sorted(_LINEAR | _BILINEAR | _RISING | {'max', 'neg', 'sub'}))}, "
        "products with one perturbed factor, and jit. Measure such features without a "
        "certificate."
    )


def _constant(a, rows):
    """[rows, ...]: a, without dependence on the perturbation."""
    return jnp.concatenate([a[None], jnp.zeros((rows - 1, *a.shape), a.dtype)])


def _add(a, b):
    # Each row by itself: one of the two may be a scalar.
    return _Bounds(*(jax.vmap(jnp.add)(*part) for part in zip(a, b, strict=True)))


def _negate(v):
    return _Bounds(-v.middle, v.half)


def _relu(v, dual):
    """slope v below, and above the chord between the ends of the interval of v."""
    low, high = _interval(v, dual)
    crosses = (low < 0) & (high > 0)
    chord = jnp.where(crosses, high / jnp.where(crosses, high - low, 1), 0)
    on = (low >= 0).astype(low.dtype)
    above = on + chord
    # CROWN's choice of the slope below, 0 or 1, whichever leaves the smaller triangle;
    # intervals know only the constant 0.
    steep = crosses & (high > -low) & (len(v.middle) > 1)
    below = on + steep.astype(low.dtype)
    lower = below[None] * (v.middle - v.half)
    upper = above[None] * (v.middle + v.half) - _constant(chord * low, len(v.middle))
    return _Bounds((upper + lower) / 2, (upper - lower) / 2)

"""Networks of other libraries as a `Model`: Flax linen, Flax NNX, plain functions.

    model = models.linen(MyModule(num_classes=10))
    model = models.nnx(lambda rngs: MyModule(rngs=rngs))
    model = models.function(lambda params, x: x.reshape(len(x), -1) @ params, weights)

Networks take images [B, H, W, C] in [0, 1], so they normalise them themselves, and
return an `Output(logits, features)` or plain logits [B, K], which are then the features
too.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors, traverse_util
from flax import linen as nn

from nrf.types import Images, Key, Model, Output, Params, as_output, outputs

# Arguments that mean the opposite of `train`, by the conventions of Flax.
_OPPOSITE = ("deterministic", "use_running_average")


def linen(
    module: nn.Module, *, layer: str | None = None, train_argument: str = "train"
) -> Model:
    """A Flax linen module as a `Model`.

    Modules without BatchNorm, or without an argument for training, work too.

    Args:
      layer: The submodule whose output is the features, flattened to [B, D]: its name,
        "Dense_0", or its path, "Block_1/Dense_0". None: those that the module returns.
      train_argument: The argument of `__call__` that is True in training and False
        otherwise; `deterministic` and `use_running_average` get the opposite. It may be
        absent if it is "train".

    Returns:
      A model without `identity_relu`; `model._replace(identity_relu=…)` adds one.

    Raises:
      ValueError: it is no such module; `__call__` has no such argument, or needs
        others; when the model is
        called, if the layer does not exist or random numbers are wanted (dropout).
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"models.linen takes a linen module such as MyModule(), got {module!r}; "
            "those of NNX go to models.nnx."
        )
    wants_train = _takes(module, train_argument)

    def call(params, x, train, method, **options):
        arguments = {}
        if wants_train:
            arguments[train_argument] = train != (train_argument in _OPPOSITE)
        try:
            return method(params, x, **arguments, **options)
        except errors.InvalidRngError as error:
            raise ValueError(
                f"{type(module).__name__} draws random numbers when it is called, and "
                "networks see parameters and images alone; set dropout rates to 0."
            ) from error

    def forward(params, x, train, mutable):
        options = {"mutable": mutable}
        if layer is not None:
            options["mutable"] = [*mutable, "intermediates"]
            options["capture_intermediates"] = True
        made, updated = call(params, x, train, module.apply, **options)
        output, updated = as_output(made, x), dict(updated)
        if layer is not None:
            features = _captured(updated.pop("intermediates"), layer)
            output = output._replace(features=features.reshape(len(x), -1))
        return output, updated

    @jax.jit
    def init(key: Key, x: Images) -> Params:
        return call(key, x, False, module.init)

    def apply(params: Params, x: Images) -> Output:
        return forward(params, x, False, [])[0]

    def train(params: Params, x: Images) -> tuple[Output, Params]:
        state = [name for name in params if name != "params"]
        output, updated = forward(params, x, True, state)
        return output, {**params, **updated}

    return Model(init, apply, train)


def nnx(module: Any) -> Model:
    """A Flax NNX module as a `Model`.

    Args:
      module: A function of `nnx.Rngs` that makes the network, such as
        `lambda rngs: MyModule(10, rngs=rngs)`; or a network, which may be trained
        already. Then every training starts from its parameters, whatever the key.

    Returns:
      A model whose parameters are {"params": those of type nnx.Param, "state": all
      other variables}, dicts of arrays by their paths in the module. Training calls
      the module after `train()`, everything else after `eval()`.
    """
    from flax import nnx as flax_nnx

    if isinstance(module, nn.Module):
        raise ValueError("models.nnx got a linen module; those go to models.linen.")

    def split(module):
        return flax_nnx.split(module, flax_nnx.Param, ...)

    def make(key):
        if isinstance(module, flax_nnx.Module):
            return module
        return module(flax_nnx.Rngs(key))

    # Which layers are in training is part of the module's structure, not of its state.
    abstract = flax_nnx.eval_shape(make, jax.random.key(0))
    abstract.eval()
    testing, *shapes = split(abstract)
    abstract.train()
    training = split(abstract)[0]

    def call(graph, params, x):
        parts = params["params"], params["state"]
        merged = flax_nnx.merge(graph, *map(_restored, parts, shapes))
        return as_output(merged(x), x), merged

    @jax.jit
    def init(key: Key, x: Images) -> Params:
        _, *variables = split(make(key))
        return dict(zip(("params", "state"), map(_named, variables), strict=True))

    def apply(params: Params, x: Images) -> Output:
        return call(testing, params, x)[0]

    def train(params: Params, x: Images) -> tuple[Output, Params]:
        output, merged = call(training, params, x)
        return output, {**params, "state": _named(split(merged)[2])}

    return Model(init, apply, train)


def function(apply: Callable[[Any, Images], Any], params_or_init: Any) -> Model:
    """A function apply(params, x) as a `Model`, without BatchNorm.

    An Equinox network `net`, which takes one image with its channels first:

        params, static = eqx.partition(net, eqx.is_array)

        def apply(params, x):
            return jax.vmap(eqx.combine(params, static))(x.transpose(0, 3, 1, 2))

        model = models.function(apply, params)

    Args:
      apply: Returns logits [B, K] or an `Output`.
      params_or_init: Any tree of arrays, all of them to be trained, from which every
        training starts; or a function init(key, x) that draws one.

    Returns:
      A model whose parameters are {"params": the tree}. What is not made of dicts is
      turned into a dict of arrays by their paths in the tree, so that it can be saved.

    Raises:
      ValueError: parameters that are not arrays.
    """

    def given(key, x):
        return params_or_init

    draws = callable(params_or_init) and jax.tree_util.all_leaves([params_or_init])
    draw = params_or_init if draws else given
    if not draws:
        _check_arrays(params_or_init)

    def init(key: Key, x: Images) -> Params:
        tree = draw(key, x)
        _check_arrays(tree)
        return {"params": tree if _is_dict_tree(tree) else _named(tree)}

    def test(params: Params, x: Images) -> Output:
        tree = params["params"]
        shapes = jax.eval_shape(draw, jax.random.key(0), x)
        if not _is_dict_tree(shapes):
            tree = _restored(tree, shapes)
        return outputs(apply)(tree, x)

    def train(params: Params, x: Images) -> tuple[Output, Params]:
        return test(params, x), params

    return Model(init, test, train)


def _takes(module, train_argument):
    """Whether the module has the argument; ValueError if it needs what it won't get."""
    name = type(module).__name__
    parameters = list(inspect.signature(module.__call__).parameters.values())
    by_name = any(p.kind == p.VAR_KEYWORD for p in parameters)
    named = [p.name for p in parameters]
    if train_argument not in named and not by_name and train_argument != "train":
        raise ValueError(
            f"{name}.__call__ has no argument {train_argument!r}, but {named}; which "
            "of them is True in training?"
        )
    needed = [
        p.name
        for p in parameters[1:]
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name != train_argument
    ]
    if needed:
        raise ValueError(
            f"{name}.__call__ needs {', '.join(needed)} beside the images; write "
            f"train_argument={needed[0]!r} if that tells training from testing."
        )
    return train_argument in named


def _captured(intermediates, layer):
    """The last output of the submodule at this path, or of the only one so named."""
    calls = {
        "/".join(path[:-1]): values
        for path, values in traverse_util.flatten_dict(intermediates).items()
        if len(path) > 1 and path[-1] == "__call__"
    }
    matching = [path for path in calls if f"/{path}".endswith(f"/{layer}")]
    if layer not in calls and len(matching) != 1:
        raise ValueError(
            f"layer={layer!r} must be the path of a layer, or the name of only one; "
            f"there are {', '.join(sorted(calls))}."
        )
    features = calls[layer if layer in calls else matching[0]][-1]
    return jnp.asarray(features, jnp.float32)


def _is_dict_tree(tree):
    if type(tree) is dict:
        return all(
            isinstance(name, str) and _is_dict_tree(part) for name, part in tree.items()
        )
    return jax.tree_util.all_leaves([tree])


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _names(tree):
    """A name for every leaf of the tree: its path."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    names = [jax.tree_util.keystr(p, simple=True, separator=".") for p in paths]
    # Variables of NNX are nodes whose only leaf is their value.
    return [name.removesuffix(".value") or "value" for name in names]


def _named(tree):
    """The tree as a dict of its leaves by name; typed keys as numbers."""
    leaves = jax.tree.leaves(tree)
    plain = [jax.random.key_data(a) if _is_key(a) else a for a in leaves]
    return dict(zip(_names(tree), plain, strict=True))


def _restored(named, shapes):
    """The tree that `_named` was given; it has the structure of `shapes`."""
    leaves = [
        jax.random.wrap_key_data(named[name]) if _is_key(shape) else named[name]
        for name, shape in zip(_names(shapes), jax.tree.leaves(shapes), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _check_arrays(tree):
    for name, leaf in zip(_names(tree), jax.tree.leaves(tree), strict=True):
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(
                f"parameter {name} is a {type(leaf).__name__}, not an array; of an "
                "Equinox network give eqx.partition(net, eqx.is_array)[0]."
            )

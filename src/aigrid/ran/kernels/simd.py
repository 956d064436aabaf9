"""Vectors of 64 bytes as values inside kernels: 64 int8 lanes or 16 float32 lanes.

A loop over int8 lanes that saturates is one that compilers often leave scalar, so the kernels name the vector
operations themselves; LLVM splits a vector where the processor's registers are narrower.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

BYTES = 64


class Vector(types.Type):
    """The type of a vector of `lanes` values of `kind` inside compiled code."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(name=f"Vector({kind})")

    @property
    def ir(self) -> ir.VectorType:
        """Return the type as LLVM knows it."""
        return ir.VectorType(ir.IntType(8), BYTES) if self.kind == "int8" else ir.VectorType(ir.FloatType(), BYTES // 4)


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    """A vector is one LLVM value."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.ir)


INT8, FLOAT32 = Vector("int8"), Vector("float32")


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Vector) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), vector.ir.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, at: Any) -> Any:
    """Return the vector that begins at element `at` of a contiguous int8 or float32 array."""
    vector = INT8 if array.dtype == types.int8 else FLOAT32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = context.cast(builder, args[1], signature.args[1], types.intp)
        return builder.load(_pointer(context, builder, signature.args[0], args[0], at, vector), align=1)

    return vector(array, at), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Write a vector from element `at` of a contiguous array on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = context.cast(builder, args[1], signature.args[1], types.intp)
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], at, value), align=1)
        return context.get_dummy_value()

    return types.void(array, at, value), generate


@intrinsic  # type: ignore[untyped-decorator]
def fill(typing: Any, like: Any, number: Any) -> Any:
    """Return a vector of the same kind as `like` with `number` in every lane."""
    scalar = types.int8 if like.kind == "int8" else types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = context.cast(builder, args[1], signature.args[1], scalar)
        lane = ir.Constant(ir.IntType(32), 0)
        single = builder.insert_element(ir.Constant(like.ir, ir.Undefined), one, lane)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), like.ir.count), [0] * like.ir.count)
        return builder.shuffle_vector(single, ir.Constant(like.ir, ir.Undefined), mask)

    return like(like, number), generate


def _binary(emit: Callable[[Any, Any, Any], Any]) -> Any:
    """Make an operation on two vectors of one kind."""

    def typed(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit(builder, args[0], args[1])

        return a(a, b), generate

    return intrinsic(typed)


def _call(name: str) -> Callable[[Any, Any, Any], Any]:
    """Return what emits a call of LLVM's own `name` on two vectors."""

    def emit(builder: Any, a: Any, b: Any) -> Any:
        kind = a.type
        suffix = f"v{kind.count}i8" if isinstance(kind.element, ir.IntType) else f"v{kind.count}f32"
        function = builder.module.declare_intrinsic(f"llvm.{name}.{suffix}", (), ir.FunctionType(kind, [kind, kind]))
        return builder.call(function, [a, b])

    return emit


saturating_add = _binary(_call("sadd.sat"))
saturating_subtract = _binary(_call("ssub.sat"))
smaller = _binary(_call("smin"))
larger = _binary(_call("smax"))
exclusive_or = _binary(lambda builder, a, b: builder.xor(a, b))
either = _binary(lambda builder, a, b: builder.or_(a, b))
add = _binary(lambda builder, a, b: builder.fadd(a, b, flags=("contract",)))
subtract = _binary(lambda builder, a, b: builder.fsub(a, b, flags=("contract",)))
multiply = _binary(lambda builder, a, b: builder.fmul(a, b, flags=("contract",)))
wrapping_subtract = _binary(lambda builder, a, b: builder.sub(a, b))


@intrinsic  # type: ignore[untyped-decorator]
def three_quarters(typing: Any, value: Any) -> Any:
    """Return 3/4 of int8 lanes that are not negative, rounded up."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        two = ir.Constant(value.ir, [2] * value.ir.count)
        quarter = builder.lshr(args[0], two)
        return builder.sub(args[0], quarter)

    return value(value), generate


@intrinsic  # type: ignore[untyped-decorator]
def choose_equal(typing: Any, a: Any, b: Any, then: Any, other: Any) -> Any:
    """Return `then` in the lanes in which `a` equals `b`, else `other`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed("==", args[0], args[1]), args[2], args[3])

    return then(a, b, then, other), generate


@intrinsic  # type: ignore[untyped-decorator]
def with_sign(typing: Any, size: Any, sign: Any) -> Any:
    """Return `size`, negative in the lanes in which `sign` is negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(size.ir, [0] * size.ir.count)
        return builder.select(builder.icmp_signed("<", args[1], zero), builder.sub(zero, args[0]), args[0])

    return size(size, sign), generate


@intrinsic  # type: ignore[untyped-decorator]
def any_negative(typing: Any, value: Any, lanes: Any) -> Any:
    """Say whether one of the first `lanes` int8 lanes is negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(value.ir, [0] * value.ir.count)
        bits = builder.bitcast(builder.icmp_signed("<", args[0], zero), ir.IntType(BYTES))
        count = context.cast(builder, args[1], signature.args[1], types.int64)
        left = builder.sub(ir.Constant(ir.IntType(64), BYTES), count)
        kept = builder.shl(bits, builder.and_(left, ir.Constant(ir.IntType(64), BYTES - 1)))
        return builder.icmp_signed("!=", kept, ir.Constant(ir.IntType(BYTES), 0))

    return types.boolean(value, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def packed(typing: Any, value: Any) -> Any:
    """Return the lowest bits of 64 int8 lanes as one uint64, the first lane's as the most significant."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = ir.Constant(value.ir, [1] * value.ir.count)
        zero = ir.Constant(value.ir, [0] * value.ir.count)
        lanes = builder.icmp_signed("!=", builder.and_(args[0], one), zero)
        word = ir.IntType(BYTES)
        reverse = builder.module.declare_intrinsic("llvm.bitreverse.i64", (), ir.FunctionType(word, [word]))
        return builder.call(reverse, [builder.bitcast(lanes, word)])

    return types.uint64(value), generate


@intrinsic  # type: ignore[untyped-decorator]
def fence(typing: Any) -> Any:
    """Let no store before it become visible after one behind it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate

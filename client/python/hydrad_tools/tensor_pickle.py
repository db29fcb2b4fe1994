"""Runs the pickles of ``torch.save`` on a machine that can build named tensors and nothing else.

A pickle is a program for a stack machine, and Python's own runs whatever functions the program
names. This one has the operations that a dictionary of tensors needs; of the names that a
program may ask for it knows the storage types and the three functions in ``_FUNCTIONS``, which it
carries out itself. Every other name and operation is refused by name. No value ever becomes a
Python object with behaviour, so there is nothing to be set, called or subclassed.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any, Callable

_STORAGE_NAMES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_FUNCTIONS = {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"),
              ("torch._utils", "_rebuild_parameter")}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
             "SHORT_BINSTRING"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleRefused(Exception):
    """The program asks for what no tensor needs, or is no well-formed program; the text says which."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: ``kind`` as in ``_STORAGE_NAMES``, the name of its entry, its length."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: ``size`` and ``stride`` in numbers, from ``offset`` on, of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    """What a program asked for by module and name; one of those that are allowed."""

    module: str
    name: str


def run_pickle(program: bytes) -> Any:
    """The value that the program leaves: of dict, tuple, list, View, Storage, str, int, float, bool, None.

    Raises PickleRefused. Time and memory are bounded by the length of ``program``.
    """
    return _Machine().run(program)


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(program):
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, UnicodeError) as error:
            raise PickleRefused(f"the pickle is damaged: {error}") from error
        raise PickleRefused("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self._stack.append(argument)
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop() for _ in range(_TUPLES[name]))[::-1])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise PickleRefused(f"the pickle uses the operation {name}, which no tensor needs")

    def _pop(self, kind: type | tuple[type, ...] = object) -> Any:
        """The top of the stack, which must be above the last mark and of that kind."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise PickleRefused("the pickle is damaged: it takes more than it has put down")
        value = self._stack.pop()
        if not isinstance(value, kind):
            raise PickleRefused(f"the pickle is damaged: a {type(value).__name__} stands where it cannot")
        return value

    def _since_mark(self) -> list[Any]:
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def _top(self, kind: type) -> Any:
        value = self._pop(kind)
        self._stack.append(value)
        return value

    # The operations, each with the argument that stands in the program.

    def _nothing(self, _: Any) -> None:
        pass

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._since_mark()
        self._top(list).extend(values)

    def _put(self, index: int) -> None:
        self._memo[index] = self._top(object)

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top(object)

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set(self._top(dict), key, value)

    def _set_items(self, _: Any) -> None:
        values = self._since_mark()
        if len(values) % 2:
            raise PickleRefused("the pickle is damaged: a key without a value")
        target = self._top(dict)
        for key, value in zip(values[::2], values[1::2]):
            self._set(target, key, value)

    def _set(self, target: dict, key: Any, value: Any) -> None:
        if not isinstance(key, str):
            raise PickleRefused(f"the pickle names an entry by a {type(key).__name__}, not by a text")
        target[key] = value

    def _global(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._ask(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(str), self._pop(str)
        self._ask(module, name)

    def _ask(self, module: str, name: str) -> None:
        storage = module == "torch" and name.removesuffix("Storage") in _STORAGE_NAMES and name.endswith("Storage")
        if not storage and (module, name) not in _FUNCTIONS:
            raise PickleRefused(f"the pickle asks for {module}.{name}, which no tensor needs")
        self._stack.append(_Name(module, name))

    def _persistent(self, _: Any) -> None:
        identity = self._pop(tuple)
        if len(identity) != 5 or identity[0] != "storage" or not isinstance(identity[1], _Name):
            raise PickleRefused("the pickle refers to something outside that is no storage")
        _, kind, key, _, count = identity
        if kind.module != "torch" or not isinstance(key, str) or not _is_extent(count):
            raise PickleRefused("the pickle refers to a storage without kind, key or length")
        self._stack.append(Storage(kind.name.removesuffix("Storage"), key, count))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(tuple), self._pop(_Name)
        self._stack.append(_CALLS.get(function.name, _not_a_function)(arguments))

    def _build(self, _: Any) -> None:
        """Attributes of a dictionary, of which torch sets ``_metadata``; they are dropped."""
        self._pop()
        self._top(dict)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine._nothing, "FRAME": _Machine._nothing, "MARK": _Machine._mark,
    "EMPTY_TUPLE": _Machine._empty_tuple, "EMPTY_DICT": _Machine._empty_dict, "EMPTY_LIST": _Machine._empty_list,
    "TUPLE": _Machine._tuple, "APPEND": _Machine._append, "APPENDS": _Machine._appends,
    "BINPUT": _Machine._put, "LONG_BINPUT": _Machine._put, "MEMOIZE": _Machine._memoize,
    "BINGET": _Machine._get, "LONG_BINGET": _Machine._get,
    "SETITEM": _Machine._set_item, "SETITEMS": _Machine._set_items,
    "GLOBAL": _Machine._global, "STACK_GLOBAL": _Machine._stack_global, "BINPERSID": _Machine._persistent,
    "REDUCE": _Machine._reduce, "BUILD": _Machine._build,
}


def _is_extent(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _ordered_dict(arguments: tuple) -> dict:
    if arguments:
        raise PickleRefused("the pickle makes an OrderedDict from something")
    return {}


def _rebuild_tensor(arguments: tuple) -> View:
    """(storage, offset, size, stride, requires_grad, hooks[, metadata]); the last three say nothing of the values."""
    if len(arguments) < 4:
        raise PickleRefused("the pickle makes a tensor from too little")
    storage, offset, size, stride = arguments[:4]
    shaped = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
    if not isinstance(storage, Storage) or not shaped or not all(map(_is_extent, (offset, *size, *stride))):
        raise PickleRefused("the pickle makes a tensor from something else than storage, offset, size and stride")
    return View(storage, offset, size, stride)


def _rebuild_parameter(arguments: tuple) -> View:
    """(tensor, requires_grad, hooks); a parameter is its tensor."""
    if not arguments or not isinstance(arguments[0], View):
        raise PickleRefused("the pickle makes a parameter from something that is no tensor")
    return arguments[0]


def _not_a_function(_: tuple) -> Any:
    raise PickleRefused("the pickle calls a storage type")


_CALLS = {"OrderedDict": _ordered_dict, "_rebuild_tensor_v2": _rebuild_tensor,
          "_rebuild_parameter": _rebuild_parameter}

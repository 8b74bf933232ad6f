"""What people bring in Python, named `package.module:object`: a loss, a separator."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from apit.errors import UserError


def is_own(name: str) -> bool:
    """Whether a name is of an object of one's own, and none of ours."""
    return ":" in name


def imported(key: str, name: str) -> Any:
    """The object of a name; `key` says in errors where it stands. Raises UserError."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"{key}: {name} cannot be imported: {error}; is it on the PYTHONPATH?"
        ) from None
    if not callable(found):
        raise UserError(f"{key}: {name} is not a function or class")
    return found


def file_of(key: str, name: str) -> Path:
    """The file of an object's module, which is not run; what that imports does not count."""
    module = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):  # its package; a name that is none
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(f"{key}: {module}: no such module; put its folder on PYTHONPATH")
    return Path(spec.origin)

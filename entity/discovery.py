"""What a module or a Worker() configuration has to run: workflows, activities, Nexus service handlers, by
name and place, and whether the SDK would take them. Imports nothing, starts nothing.

A module is searched without calling into its objects: a lazy proxy or a mock at module level must not
wake up because we looked at it.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, Literal

import nexusrpc
import temporalio.activity
import temporalio.workflow
from nexusrpc.handler._core import ServiceHandler

Kind = Literal["workflow", "activity", "nexus"]

ARGUMENT_OF: Mapping[Kind, str] = {
    "workflow": "workflows",
    "activity": "activities",
    "nexus": "nexus_service_handlers",
}
"""The Worker() keyword argument that carries each kind."""

_ACTIVITY = "__temporal_activity_definition"
_SERVICE = "__nexus_service_definition__"
_FACTORY = "__nexus_operation_factory__"
_OPERATION = "__nexus_operation__"

WorkflowDefinition = temporalio.workflow._Definition
ActivityDefinition = temporalio.activity._Definition


@dataclass(frozen=True)
class Contents:
    """Workflow classes, activity callables, Nexus handlers: instances, or classes that need no arguments."""

    workflows: tuple[type, ...] = ()
    activities: tuple[Callable[..., Any], ...] = ()
    nexus: tuple[Any, ...] = ()

    def only(self, kinds: Iterable[str] | None) -> "Contents":
        """Of these kinds of work; and the activities that workflows may run as local ones."""
        if kinds is None:
            return self
        kinds = set(kinds)
        workflows = self.workflows if "workflow" in kinds else ()
        return Contents(
            workflows=workflows,
            activities=self.activities if workflows or "activity" in kinds else (),
            nexus=self.nexus if "nexus" in kinds else (),
        )

    def kinds(self) -> list[Kind]:
        found: list[Kind] = []
        if self.workflows:
            found.append("workflow")
        if self.activities:
            found.append("activity")
        if self.nexus:
            found.append("nexus")
        return found


def contents_of_configuration(configuration: Mapping[str, Any]) -> Contents:
    return Contents(
        workflows=tuple(configuration.get("workflows") or ()),
        activities=tuple(configuration.get("activities") or ()),
        nexus=tuple(configuration.get("nexus_service_handlers") or ()),
    )


def contents_of_module(module: ModuleType) -> tuple[Contents, list[str]]:
    """What stands in the namespace of a module, wherever it was defined; and what stands there, looks as if
    it should run, and cannot."""
    workflows: list[type] = []
    activities: dict[Any, Callable[..., Any]] = {}
    handlers: list[Any] = []
    handler_classes: list[type] = []
    activity_classes: list[type] = []
    for value in _unique(vars(module).values()):
        # Not isinstance: it asks the object for its __class__, which wakes up a lazy proxy.
        if issubclass(type(value), type):
            if is_workflow(value):
                workflows.append(value)
            elif _is_handler_class(value):
                handler_classes.append(value)
            elif value.__module__ == module.__name__ and _activity_names(value):
                activity_classes.append(value)
        elif issubclass(type(value), ModuleType):
            continue
        elif is_activity(value):
            activities.setdefault(_activity_key(value), value)
        elif _is_handler_class(type(value)):
            handlers.append(value)
        else:
            for name in _activity_names(type(value)):
                method = getattr(value, name)
                activities.setdefault(_activity_key(method), method)
    served = {type(handler) for handler in handlers} | {
        type(a.__self__) for a in activities.values() if isinstance(a, MethodType)
    }
    makeable = [cls for cls in handler_classes if cls not in served and _needs_no_arguments(cls)]
    idle = [
        cls
        for cls in [*activity_classes, *handler_classes]
        if cls.__module__ == module.__name__
        and cls not in makeable
        and not any(issubclass(c, cls) for c in served)
    ]
    contents = Contents(tuple(workflows), tuple(activities.values()), (*handlers, *makeable))
    return contents, [
        f"class {cls.__name__} ({place_of_code(cls)}) is not served: the module holds no instance of it; "
        "make one at module level, or name a `module:factory` that makes it"
        for cls in idle
    ]


def is_workflow(value: Any) -> bool:
    return issubclass(type(value), type) and WorkflowDefinition.from_class(value) is not None


def is_activity(value: Any) -> bool:
    """Whether the SDK takes it for an activity: a function, a bound method, an instance with `__call__`."""
    if issubclass(type(value), MethodType):
        value = value.__func__
    if issubclass(type(value), FunctionType):
        return isinstance(vars(value).get(_ACTIVITY), ActivityDefinition)
    return not issubclass(type(value), type) and isinstance(_static(value, _ACTIVITY), ActivityDefinition)


def service_definition(handler: Any) -> nexusrpc.ServiceDefinition | None:
    """The service that a handler (class, instance, or the SDK's own ServiceHandler) implements."""
    if isinstance(handler, ServiceHandler):
        return handler.service
    cls = handler if isinstance(handler, type) else type(handler)
    found = vars(cls).get(_SERVICE)
    return found if isinstance(found, nexusrpc.ServiceDefinition) else None


def workflow_name(cls: type) -> str:
    return WorkflowDefinition.must_from_class(cls).name or f"{cls.__name__} (dynamic)"


def activity_name(function: Callable[..., Any]) -> str:
    definition = ActivityDefinition.must_from_callable(function)
    return definition.name or f"{_title(function)} (dynamic)"


def has_sync_activity(activities: Iterable[Callable[..., Any]]) -> bool:
    return any(not ActivityDefinition.must_from_callable(function).is_async for function in activities)


def has_sync_operation(handlers: Iterable[Any]) -> bool:
    """Whether a Nexus operation of these instances needs an executor."""
    for handler in handlers:
        if not isinstance(handler, ServiceHandler):
            handler = ServiceHandler.from_user_instance(handler)  # noqa: PLW2901
        for operation in handler.operation_handlers.values():
            if not all(inspect.iscoroutinefunction(m) for m in (operation.start, operation.cancel)):
                return True
    return False


def mistakes(contents: Contents) -> list[str]:
    """Why the SDK would not take these: undecorated things, and names used twice. Each with its place."""
    found = [
        f"{_title(value)} ({place_of_code(value)}) has no @workflow.defn; decorate it, or do not list it"
        for value in contents.workflows
        if not is_workflow(value)
    ]
    found += [
        f"{_title(value)} ({place_of_code(value)}) is no activity; the activities must be functions, bound "
        "methods or instances decorated with @activity.defn"
        for value in contents.activities
        if not is_activity(value)
    ]
    found += [
        f"{_title(value)} ({place_of_code(value)}) has no @nexusrpc.handler.service_handler on its class; "
        "decorate it"
        for value in contents.nexus
        if service_definition(value) is None
    ]
    found += _used_twice("workflow", [(_workflow_key(w), w) for w in contents.workflows if is_workflow(w)])
    found += _used_twice("activity", [(_activity_type(a), a) for a in contents.activities if is_activity(a)])
    found += _used_twice(
        "Nexus service", [(d.name, h) for h in contents.nexus if (d := service_definition(h)) is not None]
    )
    return found


def place_of_code(value: Any) -> str:
    """`file:line` of a class or callable, or of an instance's class."""
    code = inspect.unwrap(value) if callable(value) and hasattr(value, "__wrapped__") else value
    if isinstance(code, MethodType):
        code = code.__func__
    if isinstance(code, FunctionType):
        return f"{code.__code__.co_filename}:{code.__code__.co_firstlineno}"
    cls = code if isinstance(code, type) else type(code)
    try:
        return f"{inspect.getfile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__


def _title(value: Any) -> str:
    return getattr(value, "__qualname__", None) or type(value).__qualname__


def _used_twice(what: str, named: list[tuple[str | None, Any]]) -> list[str]:
    by_name: dict[str | None, list[Any]] = {}
    for name, value in named:
        by_name.setdefault(name, []).append(value)
    return [
        (f'the {what} name "{name}" is used' if name is not None else f"a dynamic {what} is defined")
        + f" {len(values)} times: "
        + ", ".join(f"{_title(value)} ({place_of_code(value)})" for value in values)
        + "; keep one of them"
        for name, values in by_name.items()
        if len(values) > 1
    ]


def _workflow_key(cls: type) -> str | None:
    return WorkflowDefinition.must_from_class(cls).name


def _activity_type(function: Callable[..., Any]) -> str | None:
    return ActivityDefinition.must_from_callable(function).name


def _activity_key(function: Any) -> Any:
    # Each access to a bound method makes a new object.
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    return id(function)


def _activity_names(cls: type) -> list[str]:
    """The attributes of a class that are activities once bound to an instance."""
    names: dict[str, bool] = {}
    for base in cls.__mro__:
        for name, value in vars(base).items():
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            # The first class of the MRO that has the name decides, as for any attribute.
            names.setdefault(
                name,
                isinstance(function, FunctionType)
                and isinstance(vars(function).get(_ACTIVITY), ActivityDefinition),
            )
    return [name for name, is_one in names.items() if is_one]


def _is_handler_class(cls: type) -> bool:
    """A service contract carries a definition too; only a handler has operations of its own."""
    if service_definition(cls) is None:
        return False
    return any(
        isinstance(value, FunctionType) and (_FACTORY in vars(value) or _OPERATION in vars(value))
        for base in cls.__mro__
        for value in vars(base).values()
    )


def _needs_no_arguments(cls: type) -> bool:
    try:
        inspect.signature(cls).bind()
    except (TypeError, ValueError):
        return False
    return True


def _static(value: Any, name: str) -> Any:
    try:
        return inspect.getattr_static(value, name, None)
    except (AttributeError, TypeError):
        return None


def _unique(values: Iterable[Any]) -> Iterator[Any]:
    seen: set[int] = set()
    for value in list(values):
        if id(value) not in seen:
            seen.add(id(value))
            yield value

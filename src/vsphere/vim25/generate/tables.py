"""Reads the vim25 type tables of pyVmomi (Apache-2.0) without importing pyVmomi.

pyVmomi describes the API as calls of CreateDataType, CreateManagedType and CreateEnumType. Those calls are run here
against recorders. Two layouts exist: `_typeinfo_*.py` (8.0 and newer) and `*Types.py`/`*Objects.py` (older).
"""

import os
import re
from dataclasses import dataclass, field

OPTIONAL = 4
UNKNOWN = "?"
LAYOUTS = (
    ("_typeinfo_core.py", "_typeinfo_query.py", "_typeinfo_vim.py"),
    ("CoreTypes.py", "QueryTypes.py", "ServerObjects.py"),
)
SCALARS = {
    "string": "string",
    "boolean": "boolean",
    "byte": "byte",
    "short": "short",
    "int": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "anyType": "anyType",
    "vmodl.DateTime": "dateTime",
    "vmodl.Binary": "base64Binary",
    "vmodl.URI": "anyURI",
    "vmodl.TypeName": "string",
    "vmodl.MethodName": "string",
    "vmodl.PropertyPath": "string",
    "vmodl.TypeName[]": "string[]",
    "vmodl.MethodName[]": "string[]",
    "vmodl.PropertyPath[]": "string[]",
}


@dataclass
class Field:
    name: str
    type: str  # wire name; "→X" for a reference to managed object X, with "[]" for lists
    optional: bool
    since: str  # "" when it is in every version that we speak
    privilege: str = ""


@dataclass
class DataType:
    name: str
    vmodl: str
    base: str
    fields: list


@dataclass
class Method:
    name: str
    vmodl: str
    on: str
    parameters: list
    result: str
    result_optional: bool
    task_result: str
    privilege: str
    faults: list
    internal: bool = False


@dataclass
class ManagedType:
    name: str
    vmodl: str
    base: str
    properties: list
    methods: list


@dataclass
class Tables:
    data: dict = field(default_factory=dict)
    managed: dict = field(default_factory=dict)
    enums: dict = field(default_factory=dict)
    methods: dict = field(default_factory=dict)


class Recorder:
    def __init__(self, oldest):
        self.oldest = version_key(oldest)
        self.raw_managed, self.raw_enums, self.versions = {}, {}, {}
        # Built into pyVmomi's run time instead of its tables.
        cause = ("faultCause", "vmodl.MethodFault", "", OPTIONAL)
        message = ("faultMessage", "vmodl.LocalizableMessage[]", "", OPTIONAL)
        self.raw_data = {
            "vmodl.MethodFault": ("MethodFault", "vmodl.DynamicData", "", [cause, message]),
            "vmodl.RuntimeFault": ("RuntimeFault", "vmodl.MethodFault", "", None),
        }

    def run(self, path):
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        calls = [l for l in lines if re.match(r"(AddVersion|CreateDataType|CreateManagedType|CreateEnumType)\(", l)]
        names = {
            "F_LINK": 1,
            "F_LINKABLE": 2,
            "F_OPTIONAL": OPTIONAL,
            "F_SECRET": 8,
            "AddVersion": lambda version, _ns, number="", *_: self.versions.setdefault(version, number),
            "CreateDataType": lambda vmodl, *rest: self.raw_data.__setitem__(vmodl, rest),
            "CreateManagedType": lambda vmodl, *rest: self.raw_managed.__setitem__(vmodl, rest),
            "CreateEnumType": lambda vmodl, *rest: self.raw_enums.__setitem__(vmodl, rest),
            "__builtins__": {},
        }
        exec(compile("\n".join(calls), os.path.basename(path), "exec"), names)

    def since(self, version):
        number = self.versions.get(version, "")
        if not number or not re.match(r"^[0-9.]+$", number) or version_key(number) <= self.oldest:
            return ""
        return number

    def is_fault(self, vmodl):
        while vmodl in self.raw_data:
            if vmodl == "vmodl.MethodFault":
                return True
            vmodl = self.raw_data[vmodl][1]
        return False

    def wire_type(self, vmodl):
        if vmodl in SCALARS:
            return SCALARS[vmodl]
        if vmodl.endswith("[]"):
            return self.wire_type(vmodl[:-2]) + "[]"
        if vmodl == "vmodl.ManagedObject":
            return "→ManagedObject"
        if vmodl in self.raw_managed:
            return "→" + self.raw_managed[vmodl][0]
        if vmodl in self.raw_enums:
            return self.raw_enums[vmodl][0]
        # A fault as a field's value travels wrapped with its message.
        if self.is_fault(vmodl):
            return "LocalizedMethodFault"
        if vmodl in self.raw_data:
            return self.raw_data[vmodl][0]
        if vmodl in ("vmodl.DataObject", "vmodl.DynamicData"):
            return "DynamicData"
        # Old tables name types that they do not have. What needs such a type is left out.
        return UNKNOWN + vmodl

    def fields(self, raw):
        return [
            Field(name, self.wire_type(vmodl), bool(flags & OPTIONAL), self.since(version), (rest or [None])[0] or "")
            for name, vmodl, version, flags, *rest in raw or []
        ]

    def method(self, on, raw):
        vmodl, name, _version, parameters, (flags, result, task_result), privilege, faults = raw
        return Method(
            name,
            vmodl,
            on,
            self.fields(parameters),
            "void" if result == "void" else self.wire_type(result),
            bool(flags & OPTIONAL),
            "" if not name.endswith("_Task") else "void" if task_result == "void" else self.wire_type(task_result),
            privilege or "",
            [self.raw_data[f][0] for f in faults or [] if f in self.raw_data],
        )

    def tables(self):
        result = Tables()
        for vmodl, (name, base, _version, fields) in self.raw_data.items():
            if vmodl in ("vmodl.DynamicData", "vmodl.DynamicArray"):
                continue  # the dynamic* fields of the root are reserved and never sent
            base_name = self.raw_data[base][0] if base in self.raw_data and base != "vmodl.DynamicData" else ""
            result.data[name] = DataType(name, vmodl, base_name, self.fields(fields))
        # The wrapper is a wire type only: pyVmomi unwraps it and has no table entry that we could follow.
        result.data["LocalizedMethodFault"] = DataType(
            "LocalizedMethodFault",
            "vmodl.LocalizedMethodFault",
            "",
            [Field("fault", "MethodFault", False, ""), Field("localizedMessage", "string", True, "")],
        )
        for vmodl, (name, _version, values) in self.raw_enums.items():
            result.enums[name] = values
        for vmodl, (name, base, _version, properties, methods) in self.raw_managed.items():
            base_name = self.raw_managed[base][0] if base in self.raw_managed else ""
            entries = [self.method(name, m) for m in methods or []]
            result.managed[name] = ManagedType(name, vmodl, base_name, self.fields(properties), entries)
            for entry in entries:
                result.methods.setdefault(entry.name, entry)
        return result


def version_key(version):
    return tuple(int(part) for part in re.findall(r"\d+", version))


def load(folder, oldest):
    """The tables in a pyVmomi package folder. Fields of `oldest` and before carry no since-version."""
    for layout in LAYOUTS:
        if os.path.exists(os.path.join(folder, layout[-1])):
            recorder = Recorder(oldest)
            for file in layout:
                recorder.run(os.path.join(folder, file))
            return recorder.tables()
    raise SystemExit(f"{folder} holds no pyVmomi type tables")

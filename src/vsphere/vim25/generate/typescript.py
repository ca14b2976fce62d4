"""Writes the closed part of the tables as TypeScript: one table for the codec, one set of types for the compiler."""

TS_SCALARS = {
    "string": "string",
    "anyURI": "string",
    "boolean": "boolean",
    "byte": "number",
    "short": "number",
    "int": "number",
    "float": "number",
    "double": "number",
    "long": "Long",
    "dateTime": "Date",
    "base64Binary": "Uint8Array",
    "anyType": "AnyValue",
    "void": "void",
}


def quote(name):
    return name if name.isidentifier() else f'"{name}"'


def compact_fields(fields):
    parts = []
    for f in fields:
        since = f"@{f.since}" if f.since else ""
        privilege = f"#{f.privilege}" if f.privilege else ""
        parts.append(f"{f.name}{'?' if f.optional else ''}:{f.type}{since}{privilege}")
    return " ".join(parts)


def schema_module(tables, header):
    out = [header, ""]
    out.append("/** Data types: vmodl name, base (`-` for none), then the own fields in wire order: `name[?]:type[@since]`. */")
    out.append("export const dataTypes: Record<string, string> = {")
    for d in sorted(tables.data.values(), key=lambda d: d.name):
        text = " ".join(filter(None, [d.vmodl, d.base or "-", compact_fields(d.fields)]))
        out.append(f'  {d.name}: "{text}",')
    out += ["};", "", "export const enumerations: Record<string, string> = {"]
    for name in sorted(tables.enums):
        out.append(f'  {name}: "{" ".join(tables.enums[name])}",')
    out += [
        "};",
        "",
        "/** Managed types: vmodl name, base, then the own properties: `name[?]:type[@since][#privilege]`. */",
        "export const managedTypes: Record<string, string> = {",
    ]
    for m in sorted(tables.managed.values(), key=lambda m: m.name):
        text = " ".join(filter(None, [m.vmodl, m.base or "-", compact_fields(m.properties)]))
        out.append(f'  {m.name}: "{text}",')
    out += [
        "};",
        "",
        "/** Methods: [vmodl name, managed type, parameters, result, result of the task, privilege, faults, namespace]. */",
        "export const methods: Record<string, readonly string[]> = {",
    ]
    for m in sorted(tables.methods.values(), key=lambda m: m.name):
        row = [m.vmodl, m.on, compact_fields(m.parameters), m.result + ("?" if m.result_optional else "")]
        row += [m.task_result, m.privilege, " ".join(m.faults), "internalvim25" if m.internal else "vim25"]
        out.append(f"  {m.name}: [{', '.join(chr(34) + c + chr(34) for c in row)}],")
    out.append("};")
    return "\n".join(out) + "\n"


class TypeWriter:
    def __init__(self, tables):
        self.tables = tables
        self.children = {}
        for d in tables.data.values():
            self.children.setdefault(d.base, []).append(d.name)

    def managed_names(self, name):
        return [name] + [n for m in self.tables.managed.values() if m.base == name for n in self.managed_names(m.name)]

    def reference(self, wire):
        if wire.endswith("[]"):
            inner = self.reference(wire[:-2])
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        if wire in TS_SCALARS:
            return TS_SCALARS[wire]
        if wire.startswith("→"):
            if wire == "→ManagedObject":
                return "ManagedObjectReference"
            names = sorted(self.managed_names(wire[1:]))
            return f"ManagedObjectReference<{' | '.join(chr(34) + n + chr(34) for n in names)}>"
        return wire

    def members(self, fields):
        return [f"  {quote(f.name)}{'?' if f.optional else ''}: {self.reference(f.type)};" for f in fields]

    def data_type(self, d):
        extends = f" extends {d.base}Fields" if d.base else ""
        subtypes = sorted(self.children.get(d.name, []))
        if not subtypes:
            mark = "" if d.base else "?"
            return [f"export interface {d.name}{extends} {{", f'  _type{mark}: "{d.name}";', *self.members(d.fields), "}"]
        exact = f'({d.name}Fields & {{ _type: "{d.name}" }})'
        own = self.members(d.fields)
        head = f"export interface {d.name}Fields{extends} {{"
        fields = [head, *own, "}"] if own else [head + "}"]
        return [*fields, f"export type {d.name} = {' | '.join([exact, *subtypes])};"]

    def module(self, header):
        out = [header, "", 'import type { AnyValue, Long, ManagedObjectReference } from "./values.ts";', ""]
        for name in sorted(self.tables.enums):
            values = " | ".join(f'"{v}"' for v in self.tables.enums[name])
            out.append(f"export type {name} = {values};")
        for d in sorted(self.tables.data.values(), key=lambda d: d.name):
            out += ["", *self.data_type(d)]
        out += ["", "/** Every data type by name; polymorphic ones as the union of their subtypes. */", "export interface DataTypes {"]
        out += [f"  {n}: {n};" for n in sorted(self.tables.data)]
        out += ["}", "", "/** Properties of managed objects. */", "export interface ManagedTypes {"]
        for m in sorted(self.tables.managed.values(), key=lambda m: m.name):
            out += [f"  {m.name}: {{", *("  " + line for line in self.members(self.inherited(m))), "  };"]
        out += ["}", "", "/** Methods: object, parameters, result, and what the task yields where the result is a task. */", "export interface Methods {"]
        for m in sorted(self.tables.methods.values(), key=lambda m: m.name):
            parameters = " ".join(line.strip() for line in self.members(m.parameters))
            on = self.reference("→" + m.on) if m.on != "ManagedObject" else "ManagedObjectReference"
            result = self.reference(m.result) + (" | undefined" if m.result_optional and m.result != "void" else "")
            if m.result.endswith("[]"):
                result = self.reference(m.result)
            task = f" taskResult: {self.reference(m.task_result)};" if m.task_result else ""
            out.append(f"  {m.name}: {{ on: {on}; parameters: {{ {parameters} }}; result: {result};{task} }};")
        out.append("}")
        return "\n".join(out) + "\n"

    def inherited(self, managed):
        chain = []
        while managed:
            chain.insert(0, managed)
            managed = self.tables.managed.get(managed.base)
        return [p for m in chain for p in m.properties]

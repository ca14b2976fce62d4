"""Checks other tables, older or newer ones, against our schema: what both know must have the same type, base and wire order."""

import re
import sys

SECTION = re.compile(r"export const (\w+): [^=]*= \{\n(.*?)\n\};", re.S)
FIELD = re.compile(r"^([^?:]+)(\??):([^@#]+)")


def read_schema(path):
    with open(path, encoding="utf-8") as file:
        sections = dict(SECTION.findall(file.read()))
    types = {}
    for name, text in re.findall(r'^  (\w+): "(.*)",$', sections["dataTypes"], re.M):
        _vmodl, base, *fields = text.split(" ")
        types[name] = ("" if base == "-" else base, parse(fields))
    methods = {}
    for name, row in re.findall(r"^  (\w+): \[(.*)\],$", sections["methods"], re.M):
        cells = re.findall(r'"([^"]*)"', row)
        methods[name] = (cells[1], parse(cells[2].split()), cells[3].rstrip("?"))
    return types, methods


def parse(fields):
    return [(match[1], match[3]) for match in (FIELD.match(f) for f in fields) if match]


def differences(what, ours, theirs):
    """Fields of both sides, in both sides' order."""
    our_types, their_types = dict(ours), dict(theirs)
    shared = [name for name, _ in ours if name in their_types]
    if shared != [name for name, _ in theirs if name in our_types]:
        yield f"{what}: different order of {', '.join(shared)}"
    for name in shared:
        if our_types[name] != their_types[name]:
            yield f"{what}.{name}: {our_types[name]} here, {their_types[name]} there"


def compare(tables, schema_path):
    types, methods = read_schema(schema_path)
    found, compared = [], 0
    for name, (base, fields) in types.items():
        other = tables.data.get(name)
        if not other:
            continue
        compared += 1
        if base != other.base:
            found.append(f"{name}: base {base or 'none'} here, {other.base or 'none'} there")
        found += differences(name, fields, [(f.name, f.type) for f in other.fields])
    for name, (on, parameters, result) in methods.items():
        other = tables.methods.get(name)
        if not other:
            continue
        compared += 1
        if (on, result) != (other.on, other.result):
            found.append(f"{name}: {on} → {result} here, {other.on} → {other.result} there")
        found += differences(name, parameters, [(f.name, f.type) for f in other.parameters])
    for line in found:
        print(line, file=sys.stderr)
    print(f"{compared} types and methods compared, {len(found)} differences")
    return 1 if found else 0

/** Whatever the schema allows comes back from the wire as it was, through the strict reader. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type AnyValue,
  type DataTypeInfo,
  dataType,
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  enumeration,
  type FieldInfo,
  type ManagedObjectReference,
  type MethodName,
  typed,
  WireError,
  XmlError,
} from "./index.ts";
import { dataTypes } from "./schema.generated.ts";

const OPTIONS = { version: "9.0.0.0" };
/** Deeper objects keep required fields only, and their lists are empty. */
const DEPTH = 3;

const text = fc
  .string({ unit: "binary", maxLength: 12 })
  .filter((value) => !/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Surrogate}/u.test(value));
const reference = fc.record({ type: fc.constantFrom("VirtualMachine", "Folder"), value: text });
const scalars: Record<string, fc.Arbitrary<unknown>> = {
  string: text,
  anyURI: fc.webUrl(),
  boolean: fc.boolean(),
  byte: fc.integer({ min: -128, max: 127 }),
  short: fc.integer({ min: -32768, max: 32767 }),
  int: fc.integer(),
  long: fc.oneof(
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).filter((value) => !Number.isSafeInteger(Number(value))),
  ),
  float: fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)),
  double: fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)),
  dateTime: fc.date({ noInvalidDate: true, min: new Date(0), max: new Date("9999-01-01") }),
  base64Binary: fc.uint8Array({ maxLength: 8 }),
};

const subtypes = new Map<string, string[]>();
for (const [name, entry] of Object.entries(dataTypes)) {
  const base = entry.split(" ", 2)[1] ?? "-";
  subtypes.set(base, [...(subtypes.get(base) ?? []), name]);
}

function familyOf(name: string): string[] {
  return [name, ...(subtypes.get(name) ?? []).flatMap(familyOf)];
}

function objectOf(name: string, depth: number): fc.Arbitrary<unknown> {
  // The declared type itself below the depth, so that families that contain themselves come to an end.
  const names = depth >= DEPTH ? [name] : familyOf(name);
  return fc.constantFrom(...names).chain((actual) => fieldsOf(dataType(actual), depth));
}

function fieldsOf(info: DataTypeInfo | undefined, depth: number): fc.Arbitrary<unknown> {
  if (!info) throw new Error("unknown type");
  const wanted = info.fields.filter((field) => !field.optional || depth < DEPTH);
  const record: Record<string, fc.Arbitrary<unknown>> = { _type: fc.constant(info.name) };
  for (const field of wanted) record[field.name] = fieldValue(field, depth + 1);
  const required = wanted.filter((field) => !field.optional).map((field) => field.name);
  return fc.record(record, { requiredKeys: ["_type", ...required] });
}

function fieldValue(field: FieldInfo, depth: number): fc.Arbitrary<unknown> {
  const single = singleOf(field, depth);
  if (!field.array) return single;
  // An optional list without elements is one that is not there. Types may contain themselves by required lists: deep ones are empty.
  return fc.array(single, { minLength: field.optional ? 1 : 0, maxLength: depth > DEPTH ? 0 : 2 });
}

function singleOf(field: FieldInfo, depth: number): fc.Arbitrary<unknown> {
  if (field.kind === "object") return fc.constant(field.type).chain((type) => objectOf(type, depth));
  if (field.kind === "reference") return reference;
  if (field.kind === "anyType") return fc.oneof(text, fc.boolean(), fc.integer(), reference);
  if (field.kind === "enumeration") return fc.constantFrom(...(enumeration(field.type) ?? []));
  const scalar = scalars[field.kind];
  if (!scalar) throw new Error(`no values for ${field.kind}`);
  return scalar;
}

const anyObject = fc.constantFrom(...Object.keys(dataTypes)).chain((name) => fieldsOf(dataType(name), 1));

test("data objects of every type, through a strict request", () => {
  const task: ManagedObjectReference<"Task"> = { type: "Task", value: "task-1" };
  fc.assert(
    fc.property(anyObject, (value) => {
      const parameters = { state: "success" as const, result: value as AnyValue };
      const xml = encodeRequest("SetTaskState", task, parameters, OPTIONS);
      const request = decodeRequest(xml, { soapAction: "urn:vim25/9.0.0.0", serverVersion: "9.0.0.0" });
      expect(request.parameters as unknown).toEqual(parameters);
    }),
    { numRuns: 400 },
  );
});

test("lists in anyType positions", () => {
  const names = Object.keys(dataTypes).filter((name) => /^Virtual/.test(name));
  const list = fc
    .constantFrom(...names)
    .chain((name) => fc.tuple(fc.constant(name), fc.array(objectOf(name, 2), { maxLength: 3 })));
  fc.assert(
    fc.property(list, ([name, values]) => {
      const xml = encodeResponse("Fetch", typed(`${name}[]`, values), OPTIONS);
      expect(decodeResponse("Fetch", xml)).toEqual({ ok: true, result: values as AnyValue });
    }),
    { numRuns: 100 },
  );
});

test("a broken document is refused with an error of ours, whatever is broken", () => {
  const vm: ManagedObjectReference<"VirtualMachine"> = { type: "VirtualMachine", value: "vm-1" };
  const xml = encodeRequest("Rename_Task", vm, { newName: "a <b> &amp; c" }, OPTIONS);
  const cut = fc.tuple(fc.nat(xml.length), fc.nat(xml.length), fc.string({ maxLength: 5 }));
  const method: MethodName = "Rename_Task";
  fc.assert(
    fc.property(cut, ([from, length, put]) => {
      try {
        const broken = xml.slice(0, from) + put + xml.slice(from + length);
        expect(decodeRequest(broken, { serverVersion: "8.0.2.0" }).method).toBe(method);
      } catch (error) {
        if (!(error instanceof WireError) && !(error instanceof XmlError)) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});

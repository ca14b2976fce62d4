/** What must not compile. `@ts-expect-error` is an error itself where nothing is wrong, so the typecheck is the test. */
import { expect, test } from "bun:test";
import { dataType, encodeRequest, type ManagedObjectReference, type Parameters, type VirtualDevice } from "./index.ts";

const vm: ManagedObjectReference<"VirtualMachine"> = { type: "VirtualMachine", value: "vm-1" };
const folder: ManagedObjectReference<"Folder"> = { type: "Folder", value: "group-1" };

/** Never run: only its types count. */
function mistakes(device: VirtualDevice): unknown[] {
  return [
    // @ts-expect-error a field that the type does not have
    encodeRequest("ReconfigVM_Task", vm, { spec: { memoryGB: 1 } }, { version: "7.0" }),
    // @ts-expect-error a value of the wrong type
    encodeRequest("ReconfigVM_Task", vm, { spec: { memoryMB: "64" } }, { version: "7.0" }),
    // @ts-expect-error a required parameter is missing
    encodeRequest("ReconfigVM_Task", vm, {}, { version: "7.0" }),
    // @ts-expect-error a required field is missing
    { type: "VirtualMachine" } satisfies Parameters<"CreateFilter">["spec"]["objectSet"][number],
    // @ts-expect-error a method of another type of object
    encodeRequest("PowerOnVM_Task", folder, {}, { version: "7.0" }),
    // @ts-expect-error no such method
    encodeRequest("PowerOnVM", vm, {}, { version: "7.0" }),
    // @ts-expect-error a field of one kind of device only
    device.capacityInKB,
    device._type === "VirtualDisk" ? device.capacityInKB : 0,
  ];
}

test("mistakes in requests do not compile", () => {
  expect(mistakes).toBeFunction();
});

test("fields newer than the negotiated version are not sent", () => {
  const newer = dataType("VirtualDisk")?.fields.find(({ name }) => name === "guestReadOnly");
  expect(newer?.since).toBeGreaterThan(0);
  const device: VirtualDevice = { _type: "VirtualDisk", key: -1, capacityInKB: 1, guestReadOnly: true };
  const spec = { deviceChange: [{ _type: "VirtualDeviceConfigSpec" as const, device }] };
  expect(encodeRequest("ReconfigVM_Task", vm, { spec }, { version: "8.0.2.0" })).toContain("guestReadOnly");
  expect(encodeRequest("ReconfigVM_Task", vm, { spec }, { version: "7.0.0.0" })).not.toContain("guestReadOnly");
});

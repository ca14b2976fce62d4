/** A fault that cannot be sent leaves clients waiting: every one must encode, as a SOAP fault and as the error of a task. */
import { describe, expect, test } from "bun:test";
import { decodeResponse, EncodingError, encodeFault, encodeResponse } from "../vsphere/vim25/index.ts";
import { asFault, LabFault, localizedFault } from "./fault.ts";
import { HypervisorError, type HypervisorFault } from "./hypervisor/contract.ts";
import { data } from "./model/data.ts";
import { withoutUnencodable } from "./property/unencodable.ts";

const options = { version: "8.0.2.0" } as const;
/** A record, so that a name that is added to the union is missed here. */
const HYPERVISOR_FAULTS: Record<HypervisorFault, true> = {
  CannotAccessFile: true,
  FileAlreadyExists: true,
  FileFault: true,
  FileLocked: true,
  FileNotFound: true,
  GenericVmConfigFault: true,
  HostConfigFault: true,
  InsufficientResourcesFault: true,
  InvalidArgument: true,
  InvalidDatastorePath: true,
  InvalidDiskFormat: true,
  InvalidPowerState: true,
  InvalidState: true,
  LimitExceeded: true,
  NoDiskSpace: true,
  NotFound: true,
};

test.each(Object.keys(HYPERVISOR_FAULTS) as HypervisorFault[])("%s of the hypervisor reaches clients", (name) => {
  const fault = asFault(new HypervisorError(name, "why"));
  expect(fault.fault).toBe(name);
  expect(encodeFault(localizedFault(fault).fault, fault.message, options)).toContain(name);
  const info = data("TaskInfo", {
    ...{ key: "1", task: { type: "Task", value: "1" }, descriptionId: "d", state: "error" },
    ...{ cancelled: false, cancelable: false, queueTime: new Date(0), eventChainId: 1 },
    reason: data("TaskReasonUser", { userName: "u" }),
    error: localizedFault(fault),
  });
  const answer = decodeResponse("Fetch", encodeResponse("Fetch", info as never, options));
  expect(answer).toMatchObject({ ok: true, result: { error: { fault: { _type: name } } } });
});

test("what is no fault is a SystemError", () => {
  expect(asFault(new TypeError("oops"))).toMatchObject({ fault: "SystemError", fields: { reason: "oops" } });
});

test("required fields are checked by the compiler", () => {
  // @ts-expect-error -- existingState is required
  const fault = new LabFault("InvalidPowerState", "It runs.");
  expect(() => encodeFault(localizedFault(fault).fault, "It runs.", options)).toThrow(EncodingError);
});

describe("a property that cannot be encoded", () => {
  const bad = data("TaskInfo", { key: "1" });
  const obj = { type: "Task", value: "1" };

  test("is missing in an update; the others arrive", () => {
    const update = data("UpdateSet", {
      version: "1",
      filterSet: [
        data("PropertyFilterUpdate", {
          filter: { type: "PropertyFilter", value: "f" },
          objectSet: [
            data("ObjectUpdate", {
              kind: "enter",
              obj,
              changeSet: [
                data("PropertyChange", { name: "info", op: "assign", val: bad }),
                data("PropertyChange", { name: "info.key", op: "assign", val: "1" }),
              ],
            }),
          ],
        }),
      ],
    });
    expect(() => encodeResponse("WaitForUpdatesEx", update as never, options)).toThrow(EncodingError);
    const answer = decodeResponse(
      "WaitForUpdatesEx",
      encodeResponse("WaitForUpdatesEx", withoutUnencodable(update) as never, options),
    );
    expect(answer).toMatchObject({
      ok: true,
      result: {
        filterSet: [
          {
            objectSet: [
              {
                changeSet: [{ name: "info.key", val: "1" }],
                missingSet: [{ path: "info", fault: { fault: { _type: "SystemError" } } }],
              },
            ],
          },
        ],
      },
    });
  });

  test("is missing in a retrieval", () => {
    const reply = [data("ObjectContent", { obj, propSet: [data("DynamicProperty", { name: "info", val: bad })] })];
    const text = encodeResponse("RetrieveProperties", withoutUnencodable(reply) as never, options);
    expect(text).toContain("missingSet");
  });
});

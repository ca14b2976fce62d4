import { describe, expect, test } from "bun:test";
import { quotaMicroseconds } from "./host/cpu-limit.ts";
import { bridgeAddress, bridgeName, interfacePrefix, tapName } from "./host/interface-names.ts";
import { describeProcess, isAlive, killProcess, waitForExit } from "./host/process.ts";
import { parseBlockStatistics } from "./qemu/block-statistics.ts";
import { nodeOf } from "./qemu/devices.ts";
import { lastLines, qemuError } from "./qemu/qemu-error.ts";
import { parseQemuVersion } from "./qemu/version.ts";
import { answerRpci } from "./rpci-server.ts";

describe("names of interfaces", () => {
  test("fit the kernel's limit and differ by lab, machine and adapter", () => {
    const [one, two] = [interfacePrefix("/var/lib/one"), interfacePrefix("/var/lib/two")];
    expect(one).not.toBe(two);
    const names = [
      bridgeName(one, "a"),
      bridgeName(one, "b"),
      bridgeName(two, "a"),
      tapName(one, "vm-1", 4000),
      tapName(one, "vm-1", 4001),
      tapName(one, "vm-2", 4000),
    ];
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^vch[a-z0-9]{12}$/);
    expect(bridgeName(one, "a")).toBe(bridgeName(interfacePrefix("/var/lib/../lib/one"), "a"));
    expect(bridgeAddress(one, "a")).toMatch(/^02(:[0-9a-f]{2}){5}$/);
  });
});

describe("QEMU's answers", () => {
  test.each([
    ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", { text: "7.2.22", numbers: [7, 2] }],
    ["QEMU emulator version 10.1.0", { text: "10.1.0", numbers: [10, 1] }],
    ["bash 5.2", undefined],
  ] as const)("%s", (text, version) => expect(parseQemuVersion(text)).toEqual(version as never));

  test.each([
    ['Failed to get "write" lock\nIs another process using the image [/a.vmdk]?', "FileLocked"],
    ["Could not open '/a': No such file or directory", "FileNotFound"],
    ["Could not set up guest memory: Cannot allocate memory", "InsufficientResourcesFault"],
    ["something else", "GenericVmConfigFault"],
  ] as const)("%s", (output, fault) => expect(qemuError("start", output).fault).toBe(fault));

  test("time stamps and the program's name are left out", () => {
    expect(lastLines("2026-11-23T21:22:00.123456Z qemu-system-x86_64: -m: bad\n\n")).toBe("-m: bad");
  });

  test("block devices are recognised by id and by path", () => {
    const stats = { rd_bytes: 1, wr_bytes: 2, rd_operations: 3, wr_operations: 4 };
    const counters = parseBlockStatistics([
      { qdev: "/machine/peripheral/disk-2000/virtio-backend", stats },
      { qdev: "disk-2001", stats },
      { stats },
    ]);
    expect([...counters.keys()]).toEqual(["disk-2000", "disk-2001"]);
    expect(counters.get("disk-2000")).toEqual({ readBytes: 1, writeBytes: 2, readOperations: 3, writeOperations: 4 });
    const answer = [{ qdev: "cdrom-1", inserted: { "node-name": "n" } }, { qdev: "/machine/cdrom-2" }];
    expect([nodeOf(answer, "cdrom-1"), nodeOf(answer, "cdrom-2"), nodeOf("junk", "x")]).toEqual([
      "n",
      undefined,
      undefined,
    ]);
  });
});

describe("guest RPC", () => {
  const store = {
    get: (key: string) => (key === "guestinfo.long" ? "x".repeat(70_000) : key === "guestinfo.a" ? "1" : undefined),
    set: (key: string) => {
      if (key !== "guestinfo.a") throw new Error("Permission denied");
    },
  };
  test.each([
    ["info-get guestinfo.a", { ok: true, value: "1" }],
    ["info-get guestinfo.b", { ok: false, reason: "No value found" }],
    ["info-set guestinfo.a x", { ok: true, value: "" }],
    ["info-set vmx.b x", { ok: false, reason: "Permission denied" }],
    ["vmx.set_option", { ok: false, reason: "Unknown command" }],
    ["info-get guestinfo.long", { ok: false, reason: "Value is longer than 61438 bytes" }],
  ] as const)("%s", (request, reply) => {
    expect(answerRpci(new TextEncoder().encode(request), store)).toEqual(reply);
  });
});

test("a process is known by more than its id", async () => {
  const child = Bun.spawn(["sleep", "60"]);
  const record = describeProcess(child.pid);
  if (record === undefined) throw new Error("the process is not there");
  expect(isAlive(record)).toBe(true);
  const stranger = { ...record, startTime: "1" };
  expect(isAlive(stranger)).toBe(false);
  killProcess(stranger);
  expect(isAlive(record)).toBe(true);
  killProcess(record);
  expect(await waitForExit(record, 5000)).toBe(true);
  await child.exited;
  expect(describeProcess(child.pid)).toBeUndefined();
});

test("CPU limits in MHz become quotas of a period", () => {
  expect(quotaMicroseconds(1000, 2000)).toBe(50_000);
  expect(quotaMicroseconds(4000, 2000)).toBe(200_000);
  expect(quotaMicroseconds(1, 4000)).toBe(1000);
});

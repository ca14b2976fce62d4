import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Configuration } from "./configuration.ts";
import { defaultAllocation } from "./configuration.ts";
import type { Device } from "./device/device.ts";
import { fromVmx, toVmx } from "./vmx-configuration.ts";
import { formatVmx, parseVmx } from "./vmx-file.ts";

describe(".vmx text", () => {
  test("every key and value comes back", () => {
    const key = fc.stringMatching(/^[A-Za-z][A-Za-z0-9.:_]{0,20}$/);
    fc.assert(
      fc.property(fc.dictionary(key, fc.string({ unit: "binary" })), (entries) => {
        const before = new Map(Object.entries(entries));
        expect(parseVmx(formatVmx(before))).toEqual(before);
      }),
    );
  });

  test("the parser takes any text", () => {
    fc.assert(fc.property(fc.string(), (text) => parseVmx(text) instanceof Map));
  });

  test("VMware's own files are understood", () => {
    const entries = parseVmx(
      '.encoding = "UTF-8"\ndisplayName = "a |22b|22"\nmemSize = "512"\nnumvcpus = "2"\nethernet0.present = "TRUE"\n' +
        'ethernet0.virtualDev = "vmxnet3"\nethernet0.networkName = "VM Network"\nethernet0.generatedAddress = "00:0c:29:01:02:03"\n' +
        'ethernet0.pciSlotNumber = "192"\nuuid.bios = "56 4d 01 02 03 04 05 06-07 08 09 0a 0b 0c 0d 0e"\n',
    );
    const configuration = fromVmx(entries, "fallback");
    expect(configuration.name).toBe('a "b"');
    expect(configuration.memoryMB).toBe(512);
    expect(configuration.uuid).toBe("564d0102-0304-0506-0708-090a0b0c0d0e");
    expect(configuration.devices).toMatchObject([{ kind: "nic", key: 4000, macAddress: "00:0c:29:01:02:03" }]);
    expect([...configuration.extraConfig]).toEqual([["ethernet0.pciSlotNumber", "192"]]);
  });
});

test("a configuration survives its file", () => {
  const connection = { startConnected: true, connected: false, allowGuestControl: false };
  const devices: Device[] = [
    { kind: "scsi", key: 1001, bus: 1, model: "pvscsi" },
    { kind: "sata", key: 15000, bus: 0 },
    {
      kind: "disk",
      key: 2080 + 64,
      controllerKey: 1001,
      unit: 16,
      path: "[ds] a/b c.vmdk",
      mode: "independent_nonpersistent",
      capacityBytes: 512,
      parents: [],
      uuid: "u",
      shares: { level: "custom", shares: 300 },
    },
    { kind: "cdrom", key: 16001, controllerKey: 15000, unit: 1, path: "[ds] x.iso", ...connection },
    { kind: "cdrom", key: 3002, controllerKey: 201, unit: 0, path: undefined, ...connection },
    {
      kind: "nic",
      key: 4001,
      unit: 8,
      model: "e1000e",
      network: 'odd "name"',
      macAddress: "00:50:56:00:00:01",
      addressType: "manual",
      wakeOnLan: false,
      ...connection,
    },
    {
      kind: "serial",
      key: 9000,
      unit: 0,
      backing: { kind: "network", serviceUri: "tcp://h:1", proxyUri: "telnet://p:2", direction: "client" },
      yieldOnPoll: true,
      ...connection,
    },
    {
      kind: "serial",
      key: 9001,
      unit: 1,
      backing: { kind: "file", path: "[ds] log" },
      yieldOnPoll: false,
      ...connection,
    },
  ];
  const disk = devices[2];
  if (disk?.kind === "disk") disk.key = 2064 + 64 + 16;
  const before: Configuration = {
    name: 'n | "x" # ü',
    uuid: "564d0102-0304-0506-0708-090a0b0c0d0e",
    instanceUuid: "50000102-0304-0506-0708-090a0b0c0d0e",
    guestId: "otherGuest64",
    hardwareVersion: "vmx-17",
    annotation: "two\nlines",
    firmware: "efi",
    cpus: 4,
    coresPerSocket: 2,
    memoryMB: 1024,
    cpu: defaultAllocation("cpu", 4),
    memory: { ...defaultAllocation("memory", 1024), limit: 2048 },
    createDate: new Date(1000),
    modified: new Date(2000),
    changes: 7,
    extraConfig: new Map([["guestinfo.x", '{"a":"|b"}']]),
    recorded: { managedBy: { _type: "ManagedByInfo", extensionKey: "k", type: "t" } },
    devices,
    suspendFile: "a.vmss",
    template: false,
  };
  const after = fromVmx(parseVmx(formatVmx(toVmx(before))), "");
  expect(after).toEqual({ ...before, devices: after.devices });
  expect(after.devices).toHaveLength(devices.length);
  expect(after.devices).toEqual(expect.arrayContaining(devices));
});

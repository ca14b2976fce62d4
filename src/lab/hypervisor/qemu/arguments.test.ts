import { describe, expect, test } from "bun:test";
import type { MachineDefinition, MachineSerialPort } from "../contract.ts";
import { type LaunchContext, qemuArguments, vmwareSerialNumber } from "./arguments.ts";
import { adapterSlot, runFiles } from "./naming.ts";

const definition: MachineDefinition = {
  id: "vm-12",
  name: "web, one",
  uuid: "564d1234-abcd-4321-9876-0123456789ab",
  directory: "/ds/web",
  firmware: "bios",
  cpus: 2,
  memoryMB: 512,
  cpuLimitMhz: -1,
  scsiControllers: [{ key: 1000, bus: 0, model: "pvscsi" }],
  disks: [],
  cdroms: [],
  networkAdapters: [],
  serialPorts: [],
};
const context: LaunchContext = {
  files: runFiles("/run/lab", "vm-12"),
  accelerator: "tcg",
  qemuVersion: [7, 2],
  disks: [],
  taps: new Map([[4000, "vchabct00000000"]]),
  resuming: false,
};
const words = (changes: Partial<MachineDefinition> = {}, other: Partial<LaunchContext> = {}) =>
  qemuArguments({ ...definition, ...changes }, { ...context, ...other });
/** Values of an option, JSON ones parsed. */
function values(list: string[], name: string): unknown[] {
  return list.flatMap((word, index) => {
    const value = list[index + 1] ?? "";
    return word === name ? [value.startsWith("{") ? JSON.parse(value) : value] : [];
  });
}
const serial = (backing: MachineSerialPort["backing"], changes: Partial<MachineSerialPort> = {}, other = {}) =>
  values(
    words({ serialPorts: [{ key: 9000, unit: 0, backing, connected: true, ...changes }] }, other),
    "-chardev",
  ).find((value) => String(value).includes("id=serial-9000"));

describe("machine", () => {
  test.each([
    ["-accel", {}, ["tcg,thread=multi,tb-size=64"]],
    ["-accel", { accelerator: "kvm" }, ["kvm"]],
    ["-cpu", { accelerator: "kvm" }, ["host"]],
    ["-m", {}, ["512M"]],
    ["-smp", {}, ["2"]],
    ["-uuid", {}, [definition.uuid]],
    ["-incoming", {}, []],
    ["-incoming", { resuming: true }, ["defer"]],
    ["-smbios", {}, ["type=1,serial=VMware-56 4d 12 34 ab cd 43 21-98 76 01 23 45 67 89 ab"]],
  ] as [string, Partial<LaunchContext>, string[]][])("%s with %j", (name, other, expected) => {
    expect(values(words({}, other), name)).toEqual(expected);
  });

  test("starts stopped, without anything that was not asked for", () => {
    const list = words();
    for (const word of ["-S", "-nodefaults", "-no-user-config"]) expect(list).toContain(word);
    expect(list).not.toContain("-no-reboot");
    expect(values(list, "-device")).toEqual([
      { driver: "pvscsi", id: "scsi0", bus: "pci.0", addr: "10" },
      { driver: "isa-serial", chardev: "rpci", index: 3, baudbase: 4_000_000, irq: 7 },
    ]);
  });

  test("a kernel of the lab's boots before the devices", () => {
    const cdroms: MachineDefinition["cdroms"] = [{ key: 3000, bus: "ide", controller: 0, unit: 0, file: "/ds/a.iso" }];
    const directBoot = { kernel: "/k", initrd: "/i", commandLine: "quiet, a=b" };
    const list = words({ cdroms }, { directBoot });
    expect(list.slice(list.indexOf("-kernel")).slice(0, 6)).toEqual([
      "-kernel",
      "/k",
      "-initrd",
      "/i",
      "-append",
      "quiet, a=b",
    ]);
    expect(values(list, "-device")).toContainEqual(expect.objectContaining({ id: "cdrom-3000", bootindex: 1 }));
  });

  test("firmware from files", () => {
    expect(() => words({ firmware: "efi" })).toThrow("ovmf");
    const list = words({ firmware: "efi" }, { firmware: { code: "/f/code", variables: "/ds/web/web.nvram" } });
    expect(String(values(list, "-machine")[0])).toEndWith("pflash0=firmware-code,pflash1=firmware-variables");
  });

  test.each([{ cpus: 0 }, { cpus: 1.5 }, { memoryMB: 0 }, { uuid: "x" }])("%j is refused", (changes) => {
    expect(() => words(changes)).toThrow();
  });

  test("serial number", () => expect(() => vmwareSerialNumber("564d")).toThrow("UUID"));
});

describe("storage", () => {
  const disk = { key: 2000, bus: "scsi", controller: 0, unit: 3, file: "/ds/a,b.vmdk", discardWrites: false } as const;

  test("an LSI Logic parallel controller is left out, unless a disk is on it", () => {
    const scsiControllers = [{ key: 1000, bus: 0, model: "lsilogic" as const }];
    expect(words({ scsiControllers }).join(" ")).not.toContain("lsi");
    expect(() => words({ scsiControllers, disks: [disk] })).toThrow("ParaVirtualSCSIController");
  });

  test("a chain is one tree, writable only on top", () => {
    const list = words({ disks: [disk] }, { disks: [{ disk, files: ["/ds/child.vmdk", "/ds/a,b.vmdk"] }] });
    expect(values(list, "-blockdev")).toEqual([
      {
        driver: "vmdk",
        "node-name": "disk-node-2000",
        "read-only": false,
        file: { driver: "file", filename: "/ds/child.vmdk" },
        backing: {
          driver: "vmdk",
          "read-only": true,
          file: { driver: "file", filename: "/ds/a,b.vmdk" },
          backing: null,
        },
      },
    ]);
    expect(values(list, "-device")).toContainEqual(
      expect.objectContaining({ driver: "scsi-hd", id: "disk-2000", bus: "scsi0.0", "scsi-id": 3, bootindex: 0 }),
    );
  });

  test("the CD-ROM boots first", () => {
    const cdrom = { key: 3000, bus: "ide", controller: 1, unit: 0, file: "/iso" } as const;
    const list = words({ disks: [disk], cdroms: [cdrom] }, { disks: [{ disk, files: ["/ds/a"] }] });
    const order = values(list, "-device").flatMap((device) => {
      const { id, bootindex } = device as { id?: string; bootindex?: number };
      return bootindex === undefined ? [] : [[bootindex, id]];
    });
    expect(order).toEqual([
      [0, "cdrom-3000"],
      [1, "disk-2000"],
    ]);
  });

  test.each([
    ["ide", { bus: "ide.0", unit: 1 }],
    ["sata", { bus: "sata0.1" }],
  ] as const)("%s disks and drives", (bus, address) => {
    const other = { ...disk, bus, unit: 1 };
    const list = words({ disks: [other] }, { disks: [{ disk: other, files: ["/ds/a"] }] });
    expect(values(list, "-device")).toContainEqual(expect.objectContaining({ driver: "ide-hd", ...address }));
  });

  test.each([
    [{ ...disk, controller: 1 }, "which the VM does not have"],
    [{ ...disk, unit: 7 }, "SCSI unit 7"],
    [{ ...disk, unit: 64 }, "SCSI unit 64"],
    [{ ...disk, bus: "ide" as const, controller: 2 }, "IDE has"],
  ])("address of %j", (bad, message) => {
    expect(() => words({ disks: [bad] }, { disks: [{ disk: bad, files: ["/ds/a"] }] })).toThrow(message);
  });
});

describe("serial ports", () => {
  test.each([
    [{ kind: "none" }, "null,id=serial-9000"],
    [{ kind: "file", file: "/a,b" }, "file,id=serial-9000,path=/a,,b,append=on"],
    [
      { kind: "network", serviceUri: "tcp://10.0.0.1:99", direction: "client" },
      "socket,id=serial-9000,host=10.0.0.1,port=99,server=off,nodelay=on,reconnect=1",
    ],
    [
      { kind: "network", serviceUri: "telnet://:2001", direction: "server" },
      "socket,id=serial-9000,host=0.0.0.0,port=2001,server=on,wait=off,telnet=on,nodelay=on",
    ],
    [
      { kind: "network", serviceUri: "vch", proxyUri: "telnet://p:1", direction: "client" },
      "socket,id=serial-9000,path=/run/lab/vm-12/s9000.sock,server=on,wait=off",
    ],
  ] as const)("%j", (backing, chardev) => {
    expect(serial(backing)).toBe(chardev);
  });

  test("newer QEMU counts in milliseconds", () => {
    const backing = { kind: "network", serviceUri: "tcp://h:1", direction: "client" } as const;
    expect(serial(backing, {}, { qemuVersion: [9, 2] })).toEndWith("reconnect-ms=1000");
  });

  test("a disconnected port goes nowhere", () => {
    expect(serial({ kind: "file", file: "/a" }, { connected: false })).toBe("null,id=serial-9000");
  });

  test.each([
    [{ serviceUri: "unix:///a", direction: "client" }, "not supported"],
    [{ serviceUri: "tcp://:99", direction: "client" }, "names no host"],
    [{ serviceUri: "vch", proxyUri: "tcp://p:1", direction: "client" }, "use telnet://host:port"],
  ] as const)("%j is refused", (backing, message) => {
    expect(() => serial({ kind: "network", ...backing })).toThrow(message);
  });

  test("COM4 is taken", () => {
    expect(() => serial({ kind: "none" }, { unit: 3 })).toThrow("guest RPC");
  });
});

describe("network adapters", () => {
  test("slots follow from the key, whatever else is plugged", () => {
    expect(adapterSlot(4001, [4000, 4001, 4002])).toBe(adapterSlot(4001, []));
    const ten = Array.from({ length: 10 }, (_, index) => 4000 + index);
    expect(new Set(ten.map((key) => adapterSlot(key, ten))).size).toBe(10);
    expect(
      adapterSlot(
        1,
        Array.from({ length: 13 }, (_, index) => 10 + index),
      ),
    ).toBeUndefined();
  });

  test("a tap by name, without scripts", () => {
    const adapter = {
      key: 4000,
      model: "vmxnet3",
      macAddress: "00:50:56:aa:bb:cc",
      portGroup: "n",
      connected: true,
    } as const;
    const list = words({ networkAdapters: [adapter] });
    expect(values(list, "-netdev")).toEqual([
      { type: "tap", id: "net-4000", ifname: "vchabct00000000", script: "no", downscript: "no" },
    ]);
    expect(() => words({ networkAdapters: [{ ...adapter, macAddress: "x" }] })).toThrow("MAC");
  });
});

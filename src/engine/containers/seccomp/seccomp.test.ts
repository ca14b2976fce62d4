import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { capabilitySet } from "../capabilities.ts";
import type { Comparison } from "./compile.ts";
import { compile } from "./compile.ts";
import { seccompFilter } from "./index.ts";
import { systemCalls } from "./system-calls.ts";

const AUDIT = { amd64: 0xc000_003e, i386: 0x4000_0003, arm64: 0xc000_00b7 };
const ALLOW = 0x7fff_0000;
const ERRNO = 0x0005_0000;
const EPERM = 1;
const ENOSYS = 38;

/** What the kernel would answer: an interpreter of the few classic BPF instructions that a filter uses. */
function evaluate(filter: Uint8Array, architecture: number, number: number, args: bigint[] = []): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, number, true);
  data.setUint32(4, architecture, true);
  for (const [index, value] of args.entries()) data.setBigUint64(16 + 8 * index, BigInt.asUintN(64, value), true);
  const code = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  let accumulator = 0;
  for (let at = 0; at * 8 < filter.length; at++) {
    const [opcode, value] = [code.getUint16(at * 8, true), code.getUint32(at * 8 + 4, true)];
    const jump = (holds: boolean): void => {
      at += code.getUint8(at * 8 + (holds ? 2 : 3));
    };
    if (opcode === 0x20) accumulator = data.getUint32(value, true);
    else if (opcode === 0x54) accumulator = (accumulator & value) >>> 0;
    else if (opcode === 0x05) at += value;
    else if (opcode === 0x15) jump(accumulator === value);
    else if (opcode === 0x25) jump(accumulator > value);
    else if (opcode === 0x35) jump(accumulator >= value);
    else if (opcode === 0x06) return value;
    else throw new Error(`opcode ${opcode}`);
  }
  throw new Error("the program has no end");
}

const numberOf = (name: string, table: "x86_64" | "i386" | "arm64" = "x86_64"): number =>
  systemCalls(table).get(name) ?? Number.NaN;

function filterOf(
  options: string[] = [],
  capabilities: string[] = capabilitySet([], [], false),
  architecture = "amd64",
): Uint8Array {
  const text = seccompFilter({ SecurityOpt: options }, capabilities, architecture);
  if (text === undefined) throw new Error("no filter");
  return Buffer.from(text, "base64");
}

describe("the default profile", () => {
  const filter = filterOf();
  const call = (name: string, ...args: bigint[]): number => evaluate(filter, AUDIT.amd64, numberOf(name), args);

  test.each(["read", "openat", "execve", "clock_gettime", "futex", "mmap", "chroot", "exit_group", "ptrace"])(
    "%s is allowed",
    (name) => expect(call(name)).toBe(ALLOW),
  );

  test.each([
    "keyctl",
    "mount",
    "bpf",
    "reboot",
    "init_module",
    "kexec_load",
    "io_uring_setup",
    "unshare",
    "settimeofday",
  ])("%s is refused", (name) => expect(call(name)).toBe(ERRNO | EPERM));

  test("arguments: new namespaces, vsock, personality", () => {
    expect(call("clone", 0x1200011n)).toBe(ALLOW);
    expect(call("clone", 0x1000_0000n)).toBe(ERRNO | EPERM);
    expect(call("clone3")).toBe(ERRNO | ENOSYS);
    expect(call("socket", 2n)).toBe(ALLOW);
    expect(call("socket", 40n)).toBe(ERRNO | EPERM);
    expect(call("personality", 0xffff_ffffn)).toBe(ALLOW);
    expect(call("personality", 0x40000n)).toBe(ERRNO | EPERM);
  });

  test("system calls that nobody knows do not exist; x32 neither; i386 has numbers of its own", () => {
    expect(evaluate(filter, AUDIT.amd64, 9999)).toBe(ERRNO | ENOSYS);
    expect(evaluate(filter, AUDIT.amd64, 0x4000_0000)).toBe(ERRNO | ENOSYS);
    expect(evaluate(filter, AUDIT.i386, numberOf("mount", "i386"))).toBe(ERRNO | EPERM);
    expect(evaluate(filter, AUDIT.i386, numberOf("read", "i386"))).toBe(ALLOW);
    expect(evaluate(filter, AUDIT.arm64, numberOf("read", "arm64"))).toBe(ERRNO | ENOSYS);
    expect(evaluate(filterOf([], [], "arm64"), AUDIT.arm64, numberOf("read", "arm64"))).toBe(ALLOW);
  });

  test("a capability brings its system calls back", () => {
    const admin = filterOf([], capabilitySet(["SYS_ADMIN"], [], false));
    expect(evaluate(admin, AUDIT.amd64, numberOf("mount"))).toBe(ALLOW);
    expect(evaluate(admin, AUDIT.amd64, numberOf("clone"), [0x1000_0000n])).toBe(ALLOW);
    expect(evaluate(admin, AUDIT.amd64, numberOf("clone3"))).toBe(ALLOW);
  });

  test("the kernel takes it", () => expect(filter.length / 8).toBeLessThan(4096));
});

describe("--security-opt", () => {
  test("unconfined and privileged containers have no filter", () => {
    expect(seccompFilter({ SecurityOpt: ["seccomp=unconfined"] }, [], "amd64")).toBeUndefined();
    expect(seccompFilter({ Privileged: true }, [], "amd64")).toBeUndefined();
    expect(seccompFilter({ Privileged: true, SecurityOpt: ["seccomp=builtin"] }, [], "amd64")).toBeUndefined();
  });

  test("a profile of one's own", () => {
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        { names: ["chmod", "fchmodat"], action: "SCMP_ACT_ERRNO", errnoRet: 95 },
        { name: "getpid", action: "SCMP_ACT_KILL_PROCESS" },
      ],
    };
    const filter = filterOf([`seccomp=${JSON.stringify(profile)}`]);
    expect(evaluate(filter, AUDIT.amd64, numberOf("chmod"))).toBe(ERRNO | 95);
    expect(evaluate(filter, AUDIT.amd64, numberOf("getpid"))).toBe(0x8000_0000);
    expect(evaluate(filter, AUDIT.amd64, numberOf("read"))).toBe(ALLOW);
    expect(evaluate(filter, AUDIT.amd64, 9999)).toBe(ALLOW);
  });

  test.each([
    ["{", "opening seccomp profile failed"],
    ["{}", "defaultAction is missing"],
    ['{"defaultAction":"SCMP_ACT_MAYBE"}', "unknown action"],
    ['{"defaultAction":"SCMP_ACT_NOTIFY"}', "not supported"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}', "not supported"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}', "no names"],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ALLOW","args":[{"index":9,"value":1}]}]}',
      "no index",
    ],
  ])("%s is refused", (text, reason) => {
    expect(() => filterOf([`seccomp=${text}`])).toThrow(reason);
  });
});

const COMPARE: Record<Exclude<Comparison, "masked">, (a: bigint, b: bigint) => boolean> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

test("comparisons of 64 bits", () => {
  const word = fc.oneof(fc.bigInt(0n, 4n), fc.bigInt(0xffff_fffen, 0x1_0000_0002n), fc.bigInt(0n, (1n << 64n) - 1n));
  const comparisons = Object.keys(COMPARE) as (keyof typeof COMPARE)[];
  fc.assert(
    fc.property(fc.constantFrom(...comparisons), word, word, word, (comparison, value, argument, mask) => {
      const run = (condition: object): boolean => {
        const rules = [{ name: "read", conditions: [{ index: 1, value, comparison, ...condition }], result: ALLOW }];
        const program = compile({ tables: ["x86_64"], rules, defaultReturn: 0, unknownFail: false });
        return evaluate(program, AUDIT.amd64, numberOf("read"), [7n, argument]) === ALLOW;
      };
      expect(run({})).toBe(COMPARE[comparison](argument, value));
      expect(run({ comparison: "masked", mask })).toBe((argument & mask) === value);
    }),
  );
});

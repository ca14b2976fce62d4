import { describe, expect, test } from "bun:test";
import { constants } from "node:os";
import { LinkError } from "../../src/link/link-error.ts";
import { capabilityMask } from "../process/specification.ts";
import { encodeRequest, replyPayload } from "../rpci/vsock.ts";
import { parsePsArguments } from "./processes.ts";
import { RestartManager } from "./restart.ts";
import { signalNumber } from "./signals.ts";

describe("restart policy", () => {
  const delays = (name: "no" | "always" | "on-failure", maximumRetryCount: number, exits: [number, number][]) => {
    const manager = new RestartManager({ name, maximumRetryCount });
    return exits.map(([exitCode, ran]) => manager.next(exitCode, ran));
  };

  test("delays double to a minute, and begin again after a long run", () => {
    const short: [number, number] = [0, 50];
    expect(delays("always", 0, [short, short, short, [0, 10_000], short])).toEqual([100, 200, 400, 100, 200]);
    expect(delays("always", 0, Array(12).fill(short)).at(-1)).toBe(60_000);
  });

  test("on-failure stops at success and at its count; no never restarts", () => {
    expect(
      delays("on-failure", 2, [
        [1, 5],
        [1, 5],
        [1, 5],
      ]),
    ).toEqual([100, 200, undefined]);
    expect(
      delays("on-failure", 0, [
        [1, 5],
        [0, 5],
      ]),
    ).toEqual([100, undefined]);
    expect(delays("no", 0, [[1, 5]])).toEqual([undefined]);
  });
});

test("signals by name, number and real-time offset", () => {
  const names = ["SIGTERM", "kill", "9", "SIGRTMIN", "RTMIN+3", "SIGRTMAX-1", "SIGQUIT", "WINCH"];
  expect(names.map(signalNumber)).toEqual([15, 9, 9, 34, 37, 63, 3, 28]);
  for (const [name, number] of Object.entries(constants.signals)) expect(signalNumber(name)).toBe(number);
  expect(["0", "65", "SIGNONE", "RTMIN+40", ""].map(signalNumber)).toEqual(Array(5).fill(undefined));
});

test("ps arguments: Docker's default, aux, own columns; others are refused", () => {
  const titles = (text: string): string[] => parsePsArguments(text).map(({ name, title }) => title ?? name);
  expect(titles("")).toEqual(["UID", "pid", "ppid", "c", "stime", "tty", "time", "cmd"]);
  expect(titles("-ef")).toEqual(titles(""));
  expect(titles("aux")).toContain("pmem");
  expect(titles("-o pid,comm")).toEqual(["pid", "comm"]);
  expect(titles("-eo pid,args=COMMANDLINE")).toEqual(["pid", "COMMANDLINE"]);
  expect(titles("-e -opid")).toEqual(["pid"]);
  for (const text of ["--forest", "-o nosuch", "-o", "-q 1 -o pid"])
    expect(() => parsePsArguments(text)).toThrow(LinkError);
});

test("capabilities have the kernel's numbers", () => {
  expect(capabilityMask(["CHOWN", "cap_net_raw", "CHECKPOINT_RESTORE"])).toBe(1n | (1n << 13n) | (1n << 40n));
  expect(() => capabilityMask(["NONE_SUCH"])).toThrow("unknown capability");
});

test("RPCI over vsock: the request's layout, and replies that are cut or malformed", () => {
  const request = encodeRequest(Buffer.from("info-get k"));
  expect(Buffer.from(request).readUInt32BE(0)).toBe(request.length - 4);
  expect(Buffer.from(replyPayload(request.subarray(4))).toString()).toBe("info-get k");
  expect(() => replyPayload(request.subarray(4, request.length - 1))).toThrow("malformed");
  expect(() => replyPayload(new Uint8Array(40).fill(0xff))).toThrow("malformed");
});

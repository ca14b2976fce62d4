import { expect, test } from "bun:test";
import { FormatError } from "../format-error";
import { elfInterpreter } from "./interpreter";

test("the interpreter is what the running program names too", async () => {
  const start = await Bun.file(process.execPath).slice(0, 4096).bytes();
  const listed = Bun.spawnSync(["ldd", process.execPath]).stdout.toString();
  expect(listed).toContain(elfInterpreter(start) ?? "nothing");
});

test("scripts and static programs have none; headers that point outside are refused", async () => {
  expect(elfInterpreter(Buffer.from("#!/bin/sh\n"))).toBeUndefined();
  expect(elfInterpreter(await Bun.file("/bin/busybox").slice(0, 4096).bytes())).toBeUndefined();
  const start = await Bun.file(process.execPath).slice(0, 4096).bytes();
  expect(() => elfInterpreter(start.slice(0, 100))).toThrow(FormatError);
  expect(() => elfInterpreter(start.slice(0, 20))).toThrow(FormatError);
});

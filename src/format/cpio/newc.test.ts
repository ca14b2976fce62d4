import { expect, test } from "bun:test";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { cpioMember, cpioTrailer, fileType, readCpio } from "./newc";

const memberArbitrary = fc.record({
  name: fc.stringMatching(/^[a-z][a-z/]{0,60}$/),
  mode: fc.nat(0o177777),
  content: fc.uint8Array({ maxLength: 3000 }),
});

function archive(members: { name: string; mode: number; content: Uint8Array }[]): Uint8Array {
  return Buffer.concat([
    ...members.map(({ content, ...header }, index) => cpioMember(header, content, index + 1)),
    cpioTrailer(),
  ]);
}

async function* chunks(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

test("cpio gives back what was written", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(memberArbitrary, { maxLength: 6 }),
      fc.integer({ min: 1, max: 999 }),
      async (members, size) => {
        const read = [];
        for await (const { header, body } of readCpio(chunks(archive(members), size))) {
          read.push({
            name: header.name,
            mode: header.mode,
            content: new Uint8Array(Buffer.concat(await Array.fromAsync(body))),
          });
        }
        expect(read).toEqual(members.map((member) => ({ ...member, content: new Uint8Array(member.content) })));
      },
    ),
  );
});

test("cpio lists our archive", async () => {
  const bytes = archive([
    { name: "d", mode: fileType.directory | 0o755, content: new Uint8Array(0) },
    { name: "d/file", mode: fileType.file | 0o600, content: Buffer.from("hello") },
  ]);
  const child = Bun.spawn(["cpio", "-tv", "--quiet"], {
    stdin: bytes,
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env.PATH, TZ: "UTC" },
  });
  const lines = (await child.stdout.text())
    .trim()
    .split("\n")
    .map((line) => line.replace(/\s+/g, " "));
  expect(lines).toEqual(["drwxr-xr-x 1 root root 0 Jan 1 1970 d", "-rw------- 1 root root 5 Jan 1 1970 d/file"]);
});

test("cpio refuses archives that are cut short or malformed", async () => {
  const bytes = archive([{ name: "a", mode: 0o100644, content: Buffer.from("x") }]);
  await expect(Array.fromAsync(readCpio(chunks(bytes.subarray(0, 150), 64)))).rejects.toThrow("ends early");
  await expect(Array.fromAsync(readCpio(chunks(new Uint8Array(200), 64)))).rejects.toBeInstanceOf(FormatError);
});

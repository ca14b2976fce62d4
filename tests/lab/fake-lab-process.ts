import { join } from "node:path";
import type { LabOptions } from "../../src/lab/index.ts";

export interface FakeLabProcess {
  url: string;
  fingerprint: string;
  pid: number;
  stop(): Promise<void>;
}

/** A lab with a fake hypervisor in a process of its own, so that blocking clients can talk to it. */
export async function serveFakeLab(
  directory: string,
  personality: "HostAgent" | "VirtualCenter",
  port = 0,
  options: Pick<LabOptions, "clusters" | "datastores"> = {},
): Promise<FakeLabProcess> {
  const process = Bun.spawn(
    ["bun", join(import.meta.dir, "serve-fake.ts"), directory, personality, String(port), JSON.stringify(options)],
    {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  const reader = process.stdout.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The lab did not start");
    text += new TextDecoder().decode(value);
  }
  const { url, fingerprint } = JSON.parse(text) as { url: string; fingerprint: string };
  return {
    url,
    fingerprint,
    pid: process.pid,
    async stop() {
      process.stdin.end();
      await process.exited;
    },
  };
}

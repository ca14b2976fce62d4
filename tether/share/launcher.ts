import { PATHS } from "../paths.ts";
import { spawned } from "../process/reaper.ts";
import { SystemError } from "../system/libc.ts";

/**
 * Runs one of the commands in tether/launcher/shares.h. `root` is an open directory, the container's root. Throws SystemError
 * naming the step that failed.
 */
export const runLauncher = async (
  command: string[],
  root: number,
  launcher: string = PATHS.launcher,
): Promise<Buffer> => {
  const child = spawned(
    Bun.spawn([launcher, ...command], { stdio: ["ignore", "pipe", "pipe", root], env: {}, cwd: "/" }),
  );
  const [output, step, code] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new SystemError(step === "" ? (command[0] ?? "launcher") : step, code);
  return Buffer.from(output);
};

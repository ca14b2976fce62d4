/** Runs the `nft` command. Rules are sent as one script, which the kernel applies as one transaction. */
import { NetworkError } from "./contract.ts";

/** A hung nft would block every publish after it. */
const NFT_TIME_LIMIT_MILLISECONDS = 20_000;

export interface CommandResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end. Throws NetworkError `system` when it cannot be started. */
export async function runCommand(command: string[], input = ""): Promise<CommandResult> {
  const [program = ""] = command;
  try {
    const child = Bun.spawn(command, {
      stdin: new TextEncoder().encode(input),
      stdout: "pipe",
      stderr: "pipe",
      timeout: NFT_TIME_LIMIT_MILLISECONDS,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    });
    const [stdout, stderr, exitCode] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { exitCode, stdout, stderr };
  } catch (cause) {
    throw new NetworkError("system", `cannot run ${program}: install the package that has it (nftables, iproute2)`, {
      cause,
    });
  }
}

/** Applies a script in one transaction: all of it or nothing. */
export async function applyRules(script: string): Promise<void> {
  const result = await runCommand(["nft", "-f", "-"], script);
  if (result.exitCode !== 0) {
    const [reason = ""] = result.stderr.trim().split("\n");
    throw new NetworkError(
      "system",
      `nft refused the rules of a bridge network: ${reason || `exit ${result.exitCode}`}`,
    );
  }
}

/** Names of the existing `inet` tables that begin with `prefix`. */
export async function listTables(prefix: string): Promise<string[]> {
  const result = await runCommand(["nft", "list", "tables", "inet"]);
  if (result.exitCode !== 0) throw new NetworkError("system", `nft list tables failed: ${result.stderr.trim()}`);
  return result.stdout
    .split("\n")
    .map((line) => line.replace(/^table inet /, "").trim())
    .filter((name) => name.startsWith(prefix));
}

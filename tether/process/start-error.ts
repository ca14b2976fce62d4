import type { StartFailure } from "../../src/link/guest-configuration.ts";
import { errnoText } from "../system/libc.ts";

/** A process that could not be started; the message is Docker's. */
export class ProcessStartError extends Error {
  override readonly name = "ProcessStartError";
  constructor(
    readonly failure: StartFailure | "not-running",
    message: string,
  ) {
    super(message);
  }

  /** What Docker gives a container that could not be started. */
  get exitCode(): number {
    if (this.failure === "not-found" || this.failure === "bad-working-directory") return 127;
    return this.failure === "not-executable" ? 126 : 128;
  }
}

/** Translates the launcher's report (class, errno, step) into what runc says in the same case. */
export const startErrorFromReport = (
  kind: string,
  errno: number,
  step: string,
  name: string,
  directory: string,
): ProcessStartError => {
  const reason = errnoText(errno);
  switch (kind) {
    case "n":
      if (step === "lookup") {
        return new ProcessStartError("not-found", `exec: ${JSON.stringify(name)}: executable file not found in $PATH`);
      }
      return step === "stat"
        ? new ProcessStartError("not-found", `exec: ${JSON.stringify(name)}: stat ${name}: ${reason}`)
        : new ProcessStartError("not-found", `exec ${name}: ${reason}`);
    case "x":
      return errno === 13
        ? new ProcessStartError("not-executable", `exec: ${JSON.stringify(name)}: ${reason}`)
        : new ProcessStartError("not-executable", `exec ${name}: ${reason}`);
    case "d":
      return new ProcessStartError(
        "bad-working-directory",
        `chdir to cwd (${JSON.stringify(directory)}) set in config.json failed: ${reason}`,
      );
    case "r":
      return new ProcessStartError("not-running", "the container is not running");
    case "m":
      return new ProcessStartError("mount", `${step}: ${reason}`);
    default:
      return new ProcessStartError("other", `${step}: ${reason}`);
  }
};

/** `docker wait`. The condition is watched from the moment the outer promise resolves. */
import type { WaitCondition } from "../contract.ts";
import { aborted } from "../waiting.ts";
import type { Container } from "./container.ts";

export function waitContainer(
  container: Container,
  condition: WaitCondition,
  signal: AbortSignal,
): { result: Promise<{ StatusCode: number }> } {
  const leaving = aborted(signal);
  const result = Promise.race([outcome(container, condition), leaving.promise]).finally(leaving.stop);
  // Nobody may be listening any more when the client has gone.
  result.catch(() => undefined);
  return { result };
}

async function outcome(container: Container, condition: WaitCondition): Promise<{ StatusCode: number }> {
  if (condition === "removed") {
    await container.removed.promise;
    return { StatusCode: container.run?.exitCode ?? 0 };
  }
  if (condition === "not-running" && !container.isRunning && !container.starting)
    return { StatusCode: container.run?.exitCode ?? 0 };
  return { StatusCode: await container.nextExit };
}

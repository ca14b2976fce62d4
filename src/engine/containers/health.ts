import type { Container } from "./container.ts";

export interface HealthState {
  status: "starting" | "healthy" | "unhealthy";
  failingStreak: number;
}

/**
 * What is known of the health of a container that has a health check. One that runs is `starting` until its guest says
 * otherwise, as in Docker: clients that wait for health take its absence for a container without a check.
 */
export function healthOf(container: Container): HealthState | undefined {
  const test = container.document.config.Healthcheck?.Test;
  if (!test?.length || test[0] === "NONE") return undefined;
  return container.guest?.health ?? (container.isRunning ? { status: "starting", failingStreak: 0 } : undefined);
}

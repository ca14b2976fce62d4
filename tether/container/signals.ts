import { constants } from "node:os";

/** Number of a signal given as `SIGTERM`, `TERM`, `15` or `RTMIN+3`; undefined when there is none. */
export const signalNumber = (signal: string): number | undefined => {
  const text = signal.toUpperCase().replace(/^SIG/, "");
  if (/^\d{1,2}$/.test(text)) return Number(text) >= 1 && Number(text) <= 64 ? Number(text) : undefined;
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(text);
  if (realTime !== null) {
    const base = realTime[1] === "MIN" ? 34 : 64;
    const number = base + (realTime[2] === "-" ? -1 : 1) * Number(realTime[3] ?? 0);
    return number >= 34 && number <= 64 ? number : undefined;
  }
  return (constants.signals as Record<string, number>)[`SIG${text}`];
};
